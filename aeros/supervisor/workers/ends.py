"""The end of a worker: found, reaped where that is ours to do, accounted for, and told to whom it concerns."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from ...core.clock import show_duration
from ...core.exitcodes import ExitCode
from ...core.ipc.messages import clip
from ...core.log.lines import ended_with
from ...core.process.signalling import describe_exit
from ...core.process.terminal import regain
from ..model.backoff import weight_of
from ..model.fleet import Worker
from ..model.lifecycle import SlotState, WorkerState
from ..model.totals import Cells
from ..state.office import Office
from ..system.warden import Warden
from ..zygotes.links import ZygoteLink
from .accounts import WorkerAccounts
from .hearing import Hearing
from .links import WorkerLink
from .names import facts_of, name_of
from .profiles import Profiles

#: A zygote that says nothing of a worker's end for this long is stuck. (Its exit hooks take their time before that.)
REPORT_S = 10.0


class Ends:
    """links: the lines to all workers. on_stuck: told of a zygote that does not report, with a sentence about what.
    on_loss: told of a worker that ended unasked, with a sentence about how."""

    def __init__(
        self,
        office: Office,
        links: dict[int, WorkerLink],
        hearing: Hearing,
        profiles: Profiles,
        accounts: WorkerAccounts,
        cells: Cells,
        warden: Warden,
        on_stuck: Callable[[ZygoteLink, str], None],
        on_loss: Callable[[Worker, str], None],
    ) -> None:
        self._office = office
        self._fleet = office.fleet
        self._log = office.log
        self._links = links
        self._hearing = hearing
        self._profiles = profiles
        self._accounts = accounts
        self._cells = cells
        self._warden = warden
        self._on_stuck = on_stuck
        self._on_loss = on_loss

    # --- who has ended ---------------------------------------------------------------------------------------

    def find_unreported(self, now: float) -> None:
        """A worker that has ended is its zygote's to reap and report; a zygote that does not is ended itself, and what
        it leaves is ours to reap."""
        for worker in list(self._fleet.workers.values()):
            link = self._links.get(worker.ident)
            if link is None or not (link.over or worker.state is WorkerState.KILLING) or not worker.pid:
                continue
            if not self._office.system.has_ended(worker.pid, link.pidfd):
                continue
            if link.zygote is None or link.zygote.channel.fileno() == -1:
                self._account_for(worker)
                continue
            worker.unreported_at = worker.unreported_at or now
            if now >= worker.unreported_at + REPORT_S:
                worker.unreported_at = now
                self._on_stuck(link.zygote, f"has not reported the end of {name_of(worker)} for {REPORT_S:.0f} s")

    def _account_for(self, worker: Worker) -> None:
        """It has ended, and has no zygote any more: reaped by that, which told nobody how, or ours to reap."""
        status = None
        with contextlib.suppress(ChildProcessError):
            status = self._reap(worker)
        self.ended(worker, status)

    def reap_adopted(self) -> None:
        """Reap workers that are our own children: launched, or left to us when their zygote died."""
        if self._warden.lost():
            for worker in self._fleet.workers.values():
                if worker.launched:
                    pidfd = self._links[worker.ident].pidfd
                    self._warden.watch(worker.pid, pidfd, self._office.policy.drain_timeout_s)
        for worker in [worker for worker in self._fleet.workers.values() if worker.pid]:
            with contextlib.suppress(ChildProcessError):
                status = self._reap(worker)
                if status is not None:
                    self.ended(worker, status)

    def _reap(self, worker: Worker) -> int | None:
        return self._office.system.reap(
            worker.pid, with_group=True, say=lambda left: self._log.info(ended_with(name_of(worker), left))
        )

    # --- what follows ----------------------------------------------------------------------------------------

    def ended(self, worker: Worker, status: int | None) -> None:
        """Account for a worker that is gone. status: as waitpid gives it; None where nobody could learn it."""
        regain(worker.pid)  # it may have been at a prompt, and without us Ctrl+C would be nobody's
        link = self._links[worker.ident]
        self._hearing.last_words(worker)
        if worker.loading and link.birth is not None and status is not None:
            worker.failure, worker.traceback, worker.logged = link.birth.explain(status)
        if not worker.traceback and (crash := link.read_dump().strip()).startswith("Fatal Python error"):
            worker.traceback = clip(crash)
        self._profiles.fail(worker.ident, "has ended, and its profile with it")
        self._office.forget(link.channel)
        link.close()
        del self._links[worker.ident]
        self._accounts.close(worker)
        self._cells.give_back(worker.cell)
        self._office.datagrams.leave(worker.ident)
        phase = worker.state
        worker.on("exit")
        del self._fleet.workers[worker.ident]
        how = describe_exit(status) if status is not None else "unknown"
        served_s = self._office.system.monotonic() - worker.ready_at if worker.ready_at else None
        worker.loss_weight = weight_of(served_s, sigkill=how == "SIGKILL" and not worker.killed)
        self._accounts.note_end(worker, how, _kind_of_exit(worker, status))
        if worker.retired:
            self._ended_as_told(worker, how, status, phase)
        else:
            self._on_loss(worker, self._how_lost(worker, how))
        self._office.poke()

    def _ended_as_told(self, worker: Worker, how: str, status: int | None, phase: WorkerState) -> None:
        stopping = self._office.target.stopping
        if worker.killed and stopping != "now":
            self._log.warning(f"{name_of(worker)} was killed: {worker.killed}", **facts_of(worker))
            clean = False
        elif status and phase is not WorkerState.KILLING:
            reason = worker.failure or "no reason given"
            self._log.error(
                f"{name_of(worker)} ended with {how}: {reason}", traceback=worker.traceback, **facts_of(worker)
            )
            clean = False
        else:
            # At a stop the one line that says so is enough.
            level = "debug" if stopping else "info"
            self._log.write(level, f"{name_of(worker)} ended ({worker.recycle or worker.retired})", facts_of(worker))
            clean = True
        if stopping and not clean:
            self._office.first_error(ExitCode.KILLED)
        slot = self._fleet.slots.get(worker.slot)
        if slot is not None and slot.state is SlotState.FILLED and not self._fleet.in_slot(worker.slot):
            slot.on("expected_exit")

    def _how_lost(self, worker: Worker, how: str) -> str:
        age = show_duration(self._office.system.monotonic() - (worker.ready_at or worker.spawned_at))
        born = "launch" if worker.launched else "fork"
        when = f"{age} after it was ready" if worker.ready_at else f"{age} after its {born}, before it was ready"
        if worker.killed:
            return f"{name_of(worker)} was killed: {worker.killed}"
        if not worker.pid:
            return f"{name_of(worker)} could not be made: {worker.failure}"
        if worker.failure and not worker.ready_at:
            return f"{worker.failure} ({name_of(worker)}, {age} after its {born})"
        return f"{name_of(worker)} died: {how}, {when}" + (f": {worker.failure}" if worker.failure else "")


def _kind_of_exit(worker: Worker, status: int | None) -> str:
    if worker.killed:
        return "killed"
    if worker.retired:
        return "recycle" if worker.recycle else worker.retired
    return "crash" if status else "exit"
