"""Where the workers of each generation come from: a zygote that forks them, or a nursery that launches them."""

from __future__ import annotations

from ...core.ipc.messages import ReopenLogs
from ..state.office import Office
from .links import ZygoteLink
from .load import Load
from .nursery import Nursery


class Sources:
    """first: the zygote of the first generation; None where its workers load the program themselves. load: how they
    get it."""

    def __init__(self, office: Office, first: ZygoteLink | None, load: Load) -> None:
        self._office = office
        self.zygotes = [first] if first is not None else []
        #: Of the generations whose workers load the program themselves.
        self.nurseries = {} if first is not None else {1: Nursery(office, 1)}
        #: How the workers of the generation that serves get the program.
        self.load = load

    @property
    def forkable(self) -> frozenset[int]:
        """Return the generations that can have a new worker at this moment."""
        forking = {zygote.generation for zygote in self.zygotes if zygote.loaded and not zygote.retired}
        return frozenset(forking | self.nurseries.keys())

    @property
    def self_loading(self) -> frozenset[int]:
        """Return the generations whose workers load the program themselves."""
        return frozenset(self.nurseries)

    def source_of(self, generation: int) -> ZygoteLink | Nursery:
        """Return what makes workers of `generation`, which must be forkable."""
        return self.nurseries.get(generation) or self.zygote_of(generation)

    def zygote_of(self, generation: int) -> ZygoteLink:
        """Return the one that forks for `generation`, which must have one."""
        return next(z for z in self.zygotes if z.generation == generation and z.loaded and not z.retired)

    def launch(self, firstborn: ZygoteLink) -> None:
        """The workers of a generation load the program themselves. firstborn: has found that out, and becomes the first
        of them."""
        generation = firstborn.generation
        self.nurseries[generation] = Nursery(self._office, generation, firstborn, self.zygotes.remove)

    def of_generation(self, generation: int) -> list[ZygoteLink]:
        return [zygote for zygote in self.zygotes if zygote.generation == generation]

    def reopen_logs(self, kept: list[str]) -> None:
        for zygote in self.zygotes:
            self._office.tell(zygote.channel, ReopenLogs(kept))
