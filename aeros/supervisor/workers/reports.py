"""What zygotes say of workers: who they are, that they could not be made, and how they ended."""

from __future__ import annotations

import os
import signal

from ...core.ipc.messages import MAX_REASON_CHARS, Forked, ForkFailed, ProtocolError, clip
from ..model.lifecycle import WorkerState
from ..state.office import Office
from ..system.kin import Kin
from ..zygotes.links import ZygoteLink
from .ends import Ends
from .hearing import Hearing
from .links import WorkerLink
from .names import name_of
from .telling import Telling


class Reports:
    """Implements `zygotes.Reports`. links: the lines to all workers."""

    def __init__(
        self, office: Office, links: dict[int, WorkerLink], telling: Telling, hearing: Hearing, ends: Ends
    ) -> None:
        self._fleet = office.fleet
        self._system = office.system
        self._links = links
        self._telling = telling
        self._hearing = hearing
        self._ends = ends

    def forked(self, zygote: ZygoteLink, message: Forked, kin: Kin) -> None:
        """The zygote has made the process, which is ours to deal with from now on."""
        worker = self._fleet.workers.get(message.worker)
        if worker is None:  # given up meanwhile; without a channel it ends by itself
            if kin.pidfd is not None:
                os.close(kin.pidfd)
            del zygote.unanswered[message.worker]
            return
        link = self._links[worker.ident]
        if not kin.there:
            # The order stays unanswered until the zygote says how it ended.
            link.said_pid = message.pid
            return
        del zygote.unanswered[message.worker]
        worker.pid, link.pidfd = message.pid, kin.pidfd
        if worker.state is WorkerState.KILLING:
            self._telling.signal(worker, signal.SIGKILL)
        else:
            self._hearing.identified(worker)

    def fork_failed(self, message: ForkFailed) -> None:
        """The zygote could not make it: the system refused, or a before_fork hook did."""
        worker = self._fleet.workers.get(message.worker)
        if worker is not None:
            reason = clip(message.reason, MAX_REASON_CHARS)
            worker.failure = reason if message.errno else f"a before_fork hook raised {reason}"
            worker.traceback = "" if message.errno else clip(message.traceback)
            worker.refused = bool(message.errno)
            self._ends.ended(worker, None)

    def zygote_lost(self, ident: int) -> None:
        """The zygote died with our order unanswered. Another one gets it; should the process exist after all,
        it finds its channel closed and ends."""
        worker = self._fleet.workers.get(ident)
        if worker is not None:
            worker.retired = worker.retired or "zygote lost"
            self._ends.ended(worker, None)

    def reaped(self, zygote: ZygoteLink, pid: int, status: int) -> None:
        """A child of a zygote has ended. Raises ProtocolError for one that has not, and for another's child."""
        for worker in list(self._fleet.workers.values()):
            link = self._links[worker.ident]
            if pid not in (worker.pid, link.said_pid):
                continue
            if link.zygote is not zygote or (worker.pid and not self._system.has_ended(pid, link.pidfd)):
                raise ProtocolError(f"it reports the end of {name_of(worker)}, which is not so")
            zygote.unanswered.pop(worker.ident, None)
            worker.pid = pid
            self._ends.ended(worker, status)

    def has_workers_of(self, zygote: ZygoteLink) -> bool:
        """Whether it is the parent of one that has not ended."""
        return any(link.zygote is zygote for link in self._links.values())

    def knows(self, pid: int) -> bool:
        """Whether `pid` is one of our workers."""
        return any(worker.pid == pid for worker in self._fleet.workers.values())
