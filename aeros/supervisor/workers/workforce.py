"""The workers as the supervisor deals with them, put together from one part for each thing that is done with them."""

from __future__ import annotations

from collections.abc import Callable

from ..model.fleet import Worker
from ..model.totals import Cells
from ..state.office import Office
from ..zygotes.links import ZygoteLink
from ..zygotes.nursery import Nursery
from .accounts import WorkerAccounts
from .ends import Ends
from .hearing import Hearing
from .links import WorkerLink
from .orders import Orders
from .reports import Reports
from .slots import Slots
from .telling import Telling
from .watch import Watch


class Workforce:
    """source_of: the zygote that forks for a generation, or the nursery that launches. on_stuck: told of a zygote that
    does not report, with a sentence about what. on_loss: told of a worker that ended unasked, with a sentence about
    how. on_change: told of a worker's generation, its pid and the source files that it found changed."""

    def __init__(
        self,
        office: Office,
        source_of: Callable[[int], ZygoteLink | Nursery],
        on_stuck: Callable[[ZygoteLink, str], None],
        on_loss: Callable[[Worker, str], None],
        on_change: Callable[[int, int, list[str]], None],
    ) -> None:
        self._office = office
        #: The lines to all workers, by ident; one for each in the fleet.
        self.links: dict[int, WorkerLink] = {}
        cells, warden = Cells(office.scoreboard), office.system.warden(office.log)
        self._warden = warden
        self.slots = Slots(office)
        self.accounts = WorkerAccounts(office)
        self.telling = Telling(office, self.links, self._gone)
        self.watch = Watch(office, self.links, self.telling)
        hearing = Hearing(office, self.links, self.telling, on_change)
        self.ends = Ends(
            office, self.links, hearing, self.telling.profiles, self.accounts, cells, warden, on_stuck, on_loss
        )
        self.reports = Reports(office, self.links, self.telling, hearing, self.ends)
        self.orders = Orders(
            office, self.links, self.telling, hearing, self.ends, self.slots, cells, warden, source_of, on_loss
        )

    def _gone(self, worker: Worker) -> None:
        self.ends.ended(worker, None)

    def close(self) -> None:
        """All workers are gone, or left to themselves."""
        self._warden.close(needed=bool(self._office.fleet.workers))
