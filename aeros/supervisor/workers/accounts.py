"""What workers have counted, and how they ended: kept when they are gone."""

from __future__ import annotations

from typing import Any

from ...core.clock import wall_time
from ..model.fleet import Worker
from ..model.totals import Totals
from ..state.office import Office


class WorkerAccounts:
    """One per supervisor."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._fleet = office.fleet
        self.totals = Totals()
        #: Requests, and responses 5xx, of the workers of each slot that have ended.
        self._of_slots: dict[int, tuple[int, int]] = {}
        #: By slot: how its last worker ended.
        self.last_exits: dict[int, dict[str, Any]] = {}
        #: By kind: how many have ended so.
        self.exits: dict[str, int] = {}

    def counted(self, *, living: bool) -> Totals:
        """Return a copy of the totals; with what workers that have not ended have counted so far, if `living`."""
        totals = Totals().plus(self.totals)
        if living:
            for worker in self._fleet.workers.values():
                totals.add(self._office.scoreboard.cell(worker.cell).read(), last=False)
        return totals

    def requests_of(self, slot: int, *, living: bool) -> tuple[int, int]:
        """Return the requests of a slot's workers and their responses 5xx; see `counted`."""
        requests, failed = self._of_slots.get(slot, (0, 0))
        for worker in self._fleet.in_slot(slot) if living else ():
            figures = self._office.scoreboard.cell(worker.cell).read()
            requests, failed = requests + figures.requests, failed + figures.responses[4]
        return requests, failed

    def close(self, worker: Worker) -> None:
        """It has ended: keep its figures."""
        figures = self._office.scoreboard.cell(worker.cell).read()
        self.totals.add(figures)
        requests, failed = self._of_slots.get(worker.slot, (0, 0))
        self._of_slots[worker.slot] = (requests + figures.requests, failed + figures.responses[4])

    def note_end(self, worker: Worker, how: str, kind: str) -> None:
        """how: as `describe_exit` says it. kind: what it counts as."""
        why = worker.killed or worker.failure or (worker.recycle or worker.retired if worker.retired else "died")
        self.last_exits[worker.slot] = {
            "how": how,
            "why": why,
            "at": wall_time(),
            "pid": worker.pid,
            "generation": worker.generation,
        }
        self.exits[kind] = self.exits.get(kind, 0) + 1
