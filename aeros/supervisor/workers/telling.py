"""What workers are told: to accept, to end, to be killed; each by its channel, or by a signal."""

from __future__ import annotations

import signal
from collections.abc import Callable

from ...core.ipc.messages import Certificates, Go, LastCall, Misbehave, ReloadOutcome, ReopenLogs, Retire, Seat, clip
from ...core.process.signalling import DUMP_SIGNAL
from ...errors import StateError
from ..model.fleet import Worker
from ..model.lifecycle import WorkerState
from ..model.reload import REVERT_S
from ..state.office import Office
from .links import WorkerLink
from .names import facts_of, name_of
from .profiles import Give, Profiles
from .stacks import Stacks, take_stacks

#: Time for a stack dump to be written before the process is killed.
_DUMP_S = 0.3


class Telling:
    """links: the lines to all workers. on_gone: told of a worker that turns out to have ended and been reaped."""

    def __init__(self, office: Office, links: dict[int, WorkerLink], on_gone: Callable[[Worker], None]) -> None:
        self.profiles = Profiles(office)
        self._office = office
        self._fleet = office.fleet
        self._log = office.log
        self._links = links
        self._on_gone = on_gone

    # --- by its channel --------------------------------------------------------------------------------------

    def certificates(self, worker: Worker) -> None:
        """Give it what it serves TLS with, if it does. Raises OSError."""
        fd = self._office.certificates.fd_of(worker.generation)
        if fd is not None:
            self._office.tell(self._links[worker.ident].channel, Certificates(), [fd])

    def renew_certificates(self, now: float) -> None:
        """Give workers the new certificates if the files have changed."""
        target = self._office.target
        alive = {worker.generation for worker in self._fleet.workers.values()}
        alive |= {target.committed} | ({target.candidate} if target.candidate is not None else set())
        if self._office.certificates.look(now, target.committed, alive):
            for worker in self._fleet.of_generation(target.committed):
                try:
                    self.certificates(worker)
                except OSError as error:  # out of descriptors
                    self.recycle(worker, f"it could not be given the new certificates ({error.strerror})")

    def seat(self, worker: Worker) -> None:
        """Give it its sockets for HTTP/3, if there are any. Raises OSError."""
        seat, fds = self._office.datagrams.take(worker.ident)
        if fds:
            self._office.tell(self._links[worker.ident].channel, Seat(seat, len(fds)), fds)

    def steer(self) -> None:
        """Have new connections of HTTP/3 come to those that accept."""
        if not self._office.upgrading:  # then it is for the new supervisor to say, which may have done so
            workers = self._fleet.workers.values()
            self._office.datagrams.steer([one.ident for one in workers if one.serving and not one.retired])
        else:
            self._office.datagrams.forget()

    def admit(self, worker: Worker) -> None:
        """Tell it to accept connections."""
        worker.told_to_accept = True
        self._office.tell(self._links[worker.ident].channel, Go())
        if self._office.target.last_call_until:
            self._office.tell(self._links[worker.ident].channel, LastCall())

    def last_call(self) -> None:
        """Tell all that accept to end each connection with its next response; those admitted later hear it then."""
        for worker in self._fleet.workers.values():
            if worker.told_to_accept and worker.ident in self._links:
                self._office.tell(self._links[worker.ident].channel, LastCall())

    def retire(self, worker: Worker, reason: str) -> None:
        """Tell it to drain and end."""
        policy, now = self._office.policy, self._office.system.monotonic()
        worker.on("retire")
        worker.retired, worker.retired_at = reason, now
        total = REVERT_S if reason == "revert" else policy.total_timeout_s
        worker.drain_deadline = now + total
        link = self._links[worker.ident]
        if worker.loading and link.birth is not None:
            # It would hear of it only once it has loaded the app, and has nothing to drain.
            worker.on("kill")
            worker.killed_at = now
            link.birth.kill()
            return
        self._office.tell(link.channel, Retire(reason, min(policy.drain_timeout_s, total), total))
        self._log.debug(f"{name_of(worker)} drains: {worker.recycle or reason}", **facts_of(worker))

    def recycle(self, worker: Worker, reason: str) -> None:
        """Have it replaced by one of the same generation, when it is its turn."""
        worker.recycle = reason
        self._log.info(f"{name_of(worker)} is to be replaced: {reason}", **facts_of(worker))
        self._office.poke()

    def spoil(self, worker: Worker, how: str, seconds: float) -> None:
        """Have it fail on purpose."""
        self._log.warning(f"{name_of(worker)} is told to {how}: aeros debug", **facts_of(worker))
        self._office.tell(self._links[worker.ident].channel, Misbehave(how, seconds))

    def outcome(self, outcome: ReloadOutcome) -> None:
        """Have the worker of slot 0 run the app's on_reload hook, where there is no zygote to do so."""
        for worker in self._fleet.in_slot(0):
            if worker.serving and worker.generation == self._office.target.committed:
                self._office.tell(self._links[worker.ident].channel, outcome)

    def reopen_logs(self, kept: list[str]) -> None:
        for link in self._links.values():
            self._office.tell(link.channel, ReopenLogs(kept))

    # --- by a signal -----------------------------------------------------------------------------------------

    def stacks(self, slot: int, give: Callable[[Stacks], None]) -> None:
        """Take the stacks of the worker in `slot`, of several the one that serves. Raises StateError without one."""
        found = [worker for worker in self._fleet.in_slot(slot) if worker.pid and worker.ident in self._links]
        if not found:
            raise StateError(f"there is no worker in slot {slot} at the moment")
        worker = max(found, key=lambda worker: (worker.serving, worker.alive, worker.spawned_at))
        if worker.loading:
            raise StateError(f"the worker in slot {slot} still loads the app, and cannot be asked before it has")
        who = {"slot": slot, "pid": worker.pid, "generation": worker.generation}
        link = self._links[worker.ident]
        take_stacks(self._office.loop, self._office.system, worker, link, lambda stacks: give({**who, **stacks}))

    def profile(self, slot: int, seconds: float, give: Give) -> None:
        """Have the worker in `slot` profile itself. Raises StateError without one that serves."""
        found = [worker for worker in self._fleet.in_slot(slot) if worker.serving and worker.ident in self._links]
        if not found:
            raise StateError(f"there is no worker in slot {slot} that serves at the moment")
        worker = max(found, key=lambda worker: worker.spawned_at)
        self.profiles.ask(worker, self._links[worker.ident].channel, seconds, give)

    def kill(self, worker: Worker, reason: str, *, dump: bool) -> None:
        """End it with SIGKILL; with `dump`, ask it for the stacks of its threads first."""
        system, link = self._office.system, self._links[worker.ident]
        again = worker.state is WorkerState.KILLING
        if again and worker.pid and not self.signal(worker, signal.SIGKILL):
            # Ended and reaped, and whoever did so died before it could say how.
            self._on_gone(worker)
            return
        worker.on("kill")
        worker.killed_at = system.monotonic()
        if worker.pid and system.has_ended(worker.pid, link.pidfd):
            return  # by itself, and its zygote has yet to say so; see `Ends.find_unreported`
        worker.killed = reason
        if again:
            still = "is still there after SIGKILL; the system holds it (uninterruptible?)"
            self._log.error(f"{name_of(worker)} {still}", **facts_of(worker))
        if not worker.pid:
            return  # not forked yet: its zygote's answer or its zygote's own deadline decides
        if dump and not again and self._office.target.stopping != "now":
            self._ask_for_dump(worker, link, reason)
        else:
            self.signal(worker, signal.SIGKILL)

    def _ask_for_dump(self, worker: Worker, link: WorkerLink, reason: str) -> None:
        if worker.loading and link.birth is not None:
            link.birth.abort(reason)
        else:
            self.signal(worker, DUMP_SIGNAL)
        self._office.loop.call_later(_DUMP_S, self._kill_after_dump, worker)

    def _kill_after_dump(self, worker: Worker) -> None:
        if worker.ident not in self._fleet.workers:
            return
        if worker.loading:  # what it printed is told when it has ended
            self.signal(worker, signal.SIGKILL)
            return
        worker.traceback = stacks = clip(self._links[worker.ident].read_dump())
        worker.logged = True
        silent = "" if stacks else "; it could not say where it was (stopped?)"
        self._log.error(f"{name_of(worker)} is killed: {worker.killed}{silent}", traceback=stacks, **facts_of(worker))
        self.signal(worker, signal.SIGKILL)

    def signal(self, worker: Worker, signum: int) -> bool:
        """Return whether the process was there. A refusal of the system must not keep others from their end."""
        try:
            return self._office.system.send_signal(worker.pid, self._links[worker.ident].pidfd, signum)
        except OSError as error:
            self._log.error(f"{name_of(worker)} cannot be signalled: {error.strerror}", **facts_of(worker))
            return True
