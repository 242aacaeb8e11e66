"""What follows when something is lost that nobody had told to end: a worker, or the start itself."""

from __future__ import annotations

from ..core.exitcodes import ExitCode
from .model.fleet import Worker
from .model.lifecycle import WorkerState
from .readiness import Readiness
from .state.office import Office
from .upgrade.successor import Succession
from .verbs import Verbs
from .workers.workforce import Workforce
from .zygotes.generations import Generations


class Losses:
    """One per supervisor."""

    def __init__(
        self,
        office: Office,
        workforce: Workforce,
        generations: Generations,
        verbs: Verbs,
        readiness: Readiness,
        succession: Succession | None,
    ) -> None:
        self._office = office
        self._workforce = workforce
        self._generations = generations
        self._verbs = verbs
        self._readiness = readiness
        self._succession = succession

    def worker(self, worker: Worker, what: str) -> None:
        """A worker has ended. what: how, in a sentence."""
        office = self._office
        traceback = "" if worker.logged else worker.traceback
        if office.target.stopping or worker.generation not in (office.target.committed, office.target.candidate):
            office.log.info(what)
        elif worker.generation == office.target.candidate:
            self._generations.reloading.fail(what, worker.traceback, logged=worker.logged)
        elif not office.was_ready and not worker.ready_at:
            self.start(what, worker.traceback, logged=worker.logged)
        elif worker.refused and worker.slot < office.target.workers:
            self._workforce.slots.refused(office.fleet.slots[worker.slot], what)
        elif worker.slot < office.target.workers:
            self._workforce.slots.failed(office.fleet.slots[worker.slot], what, traceback, worker.loss_weight)
        else:
            office.log.warning(what, traceback=traceback)

    def start(self, reason: str, traceback: str = "", *, logged: bool = False) -> None:
        """The first generation cannot be brought up: say why once, leave nothing running."""
        if self._readiness.failed:
            return
        self._readiness.fail(reason, traceback)
        self._office.log.critical(f"the server cannot start: {reason}", traceback="" if logged else traceback)
        if self._succession is not None:
            self._succession.failed(reason, traceback)
        self._office.first_error(ExitCode.APP)
        self._verbs.stop("graceful", "the start failed")
        for worker in list(self._office.fleet.workers.values()):
            if worker.state is WorkerState.STARTING:
                worker.retired = "stop"
                self._workforce.telling.kill(worker, "the start failed", dump=False)
