"""Generations: where their workers come from, and the reload that leads from one to the next, put together."""

from __future__ import annotations

from collections.abc import Callable

from ..state.office import Office
from .hearing import Hearing
from .links import ZygoteLink
from .load import FORK, Load
from .protocols import Reports, Slots, Telling
from .reloading import Reloading
from .sources import Sources
from .zygotes import Zygotes


class Generations:
    """first: the zygote of the first generation; None where its workers load the program themselves, which `load` says.
    load: None where that zygote is to say it. on_founder_lost: told when it dies before the server was ever ready."""

    def __init__(
        self, office: Office, first: ZygoteLink | None, load: Load | None, on_founder_lost: Callable[[str], None]
    ) -> None:
        self._office = office
        self.sources = Sources(office, first, load or Load(FORK))
        self.zygotes = Zygotes(office, self.sources, on_founder_lost)
        self.reloading = Reloading(office, self.sources, self.zygotes, on_founder_lost)
        self._hearing: Hearing

    def open(self, reports: Reports, telling: Telling, slots: Slots) -> None:
        """Called first thing inside the loop, with those who deal with workers."""
        self._hearing = Hearing(self._office, self.sources, self.zygotes, self.reloading, reports)
        self.zygotes.open(reports, self.reloading, self._hearing.begin)
        self.reloading.open(telling, slots)
        for zygote in self.sources.zygotes:
            self._hearing.begin(zygote)
            if zygote.arrived:
                self._office.welcome(zygote.channel, zygote.generation, environment=zygote.environment)

    @property
    def gone(self) -> bool:
        """Whether no zygote, and no program on its way to become one, is left."""
        return not self.sources.zygotes and not self.reloading.loader_pid

    @property
    def deadline(self) -> float:
        """Return the next time at which something here is overdue; 0.0 if nothing is."""
        deadline, overtaken_at = self.reloading.deadline or self.zygotes.deadline, self.reloading.overtaken_at
        return min(deadline, overtaken_at) if overtaken_at else deadline

    def stop(self) -> None:
        """The server is stopping: no reload will happen, zygotes end when their last worker has."""
        self.reloading.stop()
        self.zygotes.stop()

    def reap(self) -> None:
        """Reap the program being run again and the zygotes, where they are our own children."""
        self.reloading.reap()
        self.zygotes.reap(self._hearing.on_readable)
