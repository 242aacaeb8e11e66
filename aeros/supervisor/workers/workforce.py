"""The workers as the supervisor deals with them: ordered, told, heard, timed, killed, and accounted for."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from typing import Any

from ...core.clock import monotonic, show_duration, wall_time
from ...core.exitcodes import ExitCode
from ...core.ipc.channel import ChannelClosed
from ...core.ipc.messages import (
    MAX_REASON_CHARS,
    Accepting,
    Certificates,
    Draining,
    Failed,
    FilesChanged,
    Forked,
    ForkFailed,
    Go,
    Goodbye,
    LastCall,
    Logged,
    Message,
    Misbehave,
    ProtocolError,
    Ready,
    ReloadOutcome,
    ReopenLogs,
    Retire,
    Seat,
    WantsRetirement,
    clip,
)
from ...core.log.lines import ended_with, worker_name
from ...core.process.signalling import DUMP_SIGNAL, describe_exit, open_pidfd, reap, send_signal
from ...core.process.terminal import regain
from ...errors import StateError
from ...status.usage import rss_bytes
from ..model.backoff import HEAL_AFTER_S, FailureRate, delay_before_respawn, weight_of
from ..model.fleet import Slot, Worker
from ..model.lifecycle import SlotState, WorkerState
from ..model.reload import REVERT_S
from ..model.totals import Cells, Totals
from ..state.office import Office
from ..system.kin import Kin, has_ended
from ..zygotes.links import ZygoteLink
from ..zygotes.nursery import Nursery
from ..zygotes.order import Order
from ..zygotes.warden import Warden
from .links import WorkerLink
from .loopwatch import LoopWatch
from .stacks import Stacks, take_stacks

#: A supervisor that was itself held up longer than this trusts no heartbeat it has not seen since.
_OWN_GAP_S = 1.5
#: Time for a stack dump to be written before the process is killed.
_DUMP_S = 0.3
#: A zygote that says nothing of a worker's end for this long is stuck. (Its exit hooks take their time before that.)
REPORT_S = 10.0
#: A worker that the system refused (EAGAIN, EMFILE, ENOMEM) is ordered again after this time.
REFUSED_RETRY_S = 1.0
#: How often memory is looked at, when --max-rss is set.
_RSS_EVERY_S = 1.0


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
        self._fleet = office.fleet
        self._log = office.log
        self._source_of = source_of
        self._on_stuck = on_stuck
        self._on_loss = on_loss
        self._on_change = on_change
        self._links: dict[int, WorkerLink] = {}
        self._watch = LoopWatch(office, self._links.get)
        self._cells = Cells(office.scoreboard)
        self._warden = Warden(office.log)
        self._next_ident = 1
        self._last_tick = monotonic()
        self._heartbeat_floor = 0.0
        self._next_rss = 0.0
        self._rss_warned = False
        self.totals = Totals()
        #: Requests, and responses 5xx, of the workers of each slot that have ended.
        self.slot_requests: dict[int, tuple[int, int]] = {}
        self.last_exits: dict[int, dict[str, Any]] = {}
        self.exit_counts: dict[str, int] = {}

    def counted(self, *, living: bool) -> Totals:
        """Return a copy of the totals; with what workers that have not ended have counted so far, if `living`."""
        totals = Totals().plus(self.totals)
        if living:
            for worker in self._fleet.workers.values():
                totals.add(self._office.scoreboard.cell(worker.cell).read(), last=False)
        return totals

    def requests_of(self, slot: int, *, living: bool) -> tuple[int, int]:
        """Return the requests of a slot's workers and their responses 5xx; see `counted`."""
        requests, failed = self.slot_requests.get(slot, (0, 0))
        for worker in self._fleet.in_slot(slot) if living else ():
            figures = self._office.scoreboard.cell(worker.cell).read()
            requests, failed = requests + figures.requests, failed + figures.responses[4]
        return requests, failed

    # --- orders ----------------------------------------------------------------------------------------------

    def spawn(self, slot_index: int, generation: int) -> bool:
        """Order a worker from its zygote, or launch it. It exists for us from now on; the pid of a forked one comes
        with the answer. False when that failed, which has been dealt with."""
        slot = self._fleet.slots[slot_index]
        cell = self._cells.take()
        if cell is None:
            self.slot_failed(slot, "every cell of the scoreboard is in use")
            return False
        try:
            order = Order.make(self._next_ident, slot_index, generation, cell)
        except OSError as error:
            self._cells.give_back(cell)
            self._cannot_order(slot, generation, error)
            return False
        source = self._source_of(generation)
        if isinstance(source, Nursery):
            return self._expect(order, None, lambda worker: self._launch(worker, order, source))
        with order.theirs:
            return self._expect(
                order, source, lambda worker: self._office.tell(source.channel, order.message, order.fds)
            )

    def adopt(self, order: Order, zygote: ZygoteLink) -> None:
        """Take over a worker that was ordered from its zygote before this supervisor was there."""
        self._cells.claim(order.cell)
        self._expect(order, zygote, lambda worker: None)

    def _expect(self, order: Order, zygote: ZygoteLink | None, send: Callable[[Worker], None]) -> bool:
        """Have the worker exist for us, and send the order. False when that failed, which has been dealt with."""
        worker = Worker(order.ident, order.slot, order.generation, order.cell, order.nonce, order.at)
        self._next_ident = order.ident + 1
        self._fleet.workers[worker.ident] = worker
        self._links[worker.ident] = WorkerLink(order.channel, order.file_fd, zygote)
        slot = self._fleet.slots[order.slot]
        slot.on("spawn")
        slot.retry_at = 0.0
        self._office.loop.add_reader(order.channel.fileno(), self._on_readable, worker)
        if zygote is not None:
            zygote.unanswered[worker.ident] = order.at
        try:
            self._send_certificates(worker)
            self._send_seat(worker)
            send(worker)
        except OSError as error:
            order.theirs.close()
            if zygote is not None:
                del zygote.unanswered[worker.ident]
            worker.failure, worker.refused = f"{type(error).__name__}: {error}", True
            self.ended(worker, None)
            return False
        return True

    def _launch(self, worker: Worker, order: Order, nursery: Nursery) -> None:
        """Run the program again for it. Raises OSError."""
        birth = nursery.bring_up(order)
        link = self._links[worker.ident]
        link.birth = birth
        # Nobody else can have its number before we reap it.
        link.pidfd = open_pidfd(birth.pid)
        worker.pid, worker.launched, worker.loading = birth.pid, True, birth.loading

        def loaded() -> None:
            worker.loading = False

        birth.on_loaded = loaded
        self._warden.watch(birth.pid, link.pidfd, self._office.policy.drain_timeout_s)

    def _cannot_order(self, slot: Slot, generation: int, error: OSError) -> None:
        """There is nothing to talk to a new worker with: out of descriptors or memory, which may pass."""
        what = f"{worker_name(slot.index, generation, None)} could not be made: {type(error).__name__}: {error}"
        if generation == self._office.target.candidate or not self._office.was_ready:
            # A reload is refused for it, a start ends with it, just as when the fork itself fails.
            stillborn = Worker(0, slot.index, generation, 0, "", monotonic())
            self._on_loss(stillborn, what)
        else:
            self.slot_refused(slot, what)

    def renew_certificates(self, now: float) -> None:
        """Give workers the new certificates if the files have changed."""
        target = self._office.target
        alive = {worker.generation for worker in self._fleet.workers.values()}
        alive |= {target.committed} | ({target.candidate} if target.candidate is not None else set())
        if self._office.certificates.look(now, target.committed, alive):
            for worker in self._fleet.of_generation(target.committed):
                try:
                    self._send_certificates(worker)
                except OSError as error:  # out of descriptors
                    self.recycle(worker, f"it could not be given the new certificates ({error.strerror})")

    def _send_certificates(self, worker: Worker) -> None:
        fd = self._office.certificates.fd_of(worker.generation)
        if fd is not None:
            self._office.tell(self._links[worker.ident].channel, Certificates(), [fd])

    def _send_seat(self, worker: Worker) -> None:
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

    def stacks(self, slot: int, give: Callable[[Stacks], None]) -> None:
        """Take the stacks of the worker in `slot`, of several the one that serves. Raises StateError without one."""
        found = [worker for worker in self._fleet.in_slot(slot) if worker.pid and worker.ident in self._links]
        if not found:
            raise StateError(f"there is no worker in slot {slot} at the moment")
        worker = max(found, key=lambda worker: (worker.serving, worker.alive, worker.spawned_at))
        if worker.loading:
            raise StateError(f"the worker in slot {slot} still loads the app, and cannot be asked before it has")
        who = {"slot": slot, "pid": worker.pid, "generation": worker.generation}
        take_stacks(self._office.loop, worker, self._links[worker.ident], lambda stacks: give({**who, **stacks}))

    def last_call(self) -> None:
        """Tell all that accept to end each connection with its next response; those admitted later hear it then."""
        for worker in self._office.fleet.workers.values():
            if worker.told_to_accept and worker.ident in self._links:
                self._office.tell(self._links[worker.ident].channel, LastCall())

    def retire(self, worker: Worker, reason: str) -> None:
        """Tell it to drain and end."""
        policy = self._office.policy
        worker.on("retire")
        worker.retired, worker.retired_at = reason, monotonic()
        total = REVERT_S if reason == "revert" else policy.total_timeout_s
        worker.drain_deadline = monotonic() + total
        link = self._links[worker.ident]
        if worker.loading and link.birth is not None:
            # It would hear of it only once it has loaded the app, and has nothing to drain.
            worker.on("kill")
            worker.killed_at = monotonic()
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

    def kill(self, worker: Worker, reason: str, *, dump: bool) -> None:
        """End it with SIGKILL; with `dump`, ask it for the stacks of its threads first."""
        again = worker.state is WorkerState.KILLING
        if again and worker.pid and not self._signal(worker, signal.SIGKILL):
            # Ended and reaped, and whoever did so died before it could say how.
            self.ended(worker, None)
            return
        worker.on("kill")
        worker.killed_at = monotonic()
        if worker.pid and has_ended(worker.pid, self._links[worker.ident].pidfd):
            return  # by itself, and its zygote has yet to say so; see find_unreported
        worker.killed = reason
        if again:
            self._log.error(
                f"{name_of(worker)} is still there after SIGKILL; the system holds it (uninterruptible?)",
                **facts_of(worker),
            )
        if not worker.pid:
            return  # not forked yet: its zygote's answer or its zygote's own deadline decides
        if dump and not again and self._office.target.stopping != "now":
            birth = self._links[worker.ident].birth
            if worker.loading and birth is not None:
                birth.abort(reason)
            else:
                self._signal(worker, DUMP_SIGNAL)
            self._office.loop.call_later(_DUMP_S, self._kill_after_dump, worker)
        else:
            self._signal(worker, signal.SIGKILL)

    def tell_outcome(self, outcome: ReloadOutcome) -> None:
        """Have the worker of slot 0 run the app's on_reload hook, where there is no zygote to do so."""
        for worker in self._fleet.in_slot(0):
            if worker.serving and worker.generation == self._office.target.committed:
                self._office.tell(self._links[worker.ident].channel, outcome)

    def reopen_logs(self, kept: list[str]) -> None:
        for link in self._links.values():
            self._office.tell(link.channel, ReopenLogs(kept))

    def _kill_after_dump(self, worker: Worker) -> None:
        if worker.ident not in self._fleet.workers:
            return
        if worker.loading:  # what it printed is told when it has ended
            self._signal(worker, signal.SIGKILL)
            return
        worker.traceback = stacks = clip(self._links[worker.ident].read_dump())
        worker.logged = True
        silent = "" if stacks else "; it could not say where it was (stopped?)"
        self._log.error(f"{name_of(worker)} is killed: {worker.killed}{silent}", traceback=stacks, **facts_of(worker))
        self._signal(worker, signal.SIGKILL)

    def _signal(self, worker: Worker, signum: int) -> bool:
        """Return whether the process was there. A refusal of the system must not keep others from their end."""
        try:
            return send_signal(worker.pid, self._links[worker.ident].pidfd, signum)
        except OSError as error:
            self._log.error(f"{name_of(worker)} cannot be signalled: {error.strerror}", **facts_of(worker))
            return True

    # --- time ------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Read the heartbeats, look at ages and sizes."""
        policy = self._office.policy
        if now - self._last_tick > min(_OWN_GAP_S, max(1.1, policy.worker_timeout_s / 2)):
            # We were stopped, or the machine slept: others may have been as well. Everybody gets a full timeout.
            self._heartbeat_floor = now
        self._last_tick = now
        measure = policy.max_rss_bytes is not None and now >= self._next_rss
        if measure:
            self._next_rss = now + _RSS_EVERY_S
        for worker in self._fleet.workers.values():
            if worker.state is not WorkerState.READY:
                continue
            # Its own file, not its cell, which other workers could write.
            beat = self._links[worker.ident].heartbeat(now)
            worker.heartbeat_at = max(beat, self._heartbeat_floor, worker.ready_at)
            self._watch.look(worker, now)
            if worker.recycle:
                continue
            if policy.max_lifetime_s and now - worker.ready_at > self._lifetime_of(worker):
                self.recycle(worker, f"older than {show_duration(policy.max_lifetime_s)}")
            elif measure and policy.max_rss_bytes and (rss := rss_bytes(worker.pid)) > policy.max_rss_bytes:
                self._too_big(worker, rss, policy.max_rss_bytes)

    def _too_big(self, worker: Worker, rss: int, limit: int) -> None:
        uses = f"uses {rss / 2**20:.0f} MiB, more than {limit / 2**20:.0f} MiB"
        if worker.ready_rss_bytes <= limit:
            self.recycle(worker, uses)
        elif not self._rss_warned:
            # Replacing it would only bring one more like it, and so on for ever.
            self._rss_warned = True
            self._log.warning(
                f"{name_of(worker)} {uses} and did so from its start: --max-rss is too low", **facts_of(worker)
            )

    def _lifetime_of(self, worker: Worker) -> float:
        # Spread by up to a tenth, by slot, so that workers born together do not age out together.
        workers = max(1, self._office.target.workers)
        return (self._office.policy.max_lifetime_s or 0.0) * (1.0 + 0.1 * worker.slot / workers)

    def find_unreported(self, now: float) -> None:
        """A worker that has ended is its zygote's to reap and report; a zygote that does not is ended itself, and what
        it leaves is ours to reap."""
        for worker in list(self._fleet.workers.values()):
            link = self._links.get(worker.ident)
            if link is None or not (link.over or worker.state is WorkerState.KILLING) or not worker.pid:
                continue
            if not has_ended(worker.pid, link.pidfd):
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

    # --- what workers say ------------------------------------------------------------------------------------

    def _on_readable(self, worker: Worker) -> None:
        self._read(worker)
        self._office.poke()

    def _read(self, worker: Worker) -> None:
        channel = self._links[worker.ident].channel
        try:
            messages = channel.receive()
            self._links[worker.ident].said.count(len(messages), channel)
            for message, _ in messages:
                self._hear(worker, message)
        except ChannelClosed:
            # Its exit is reported by its zygote. Until then there is nothing more to read here.
            self._stop_reading(worker)
        except ProtocolError as error:
            self._end_liar(worker, error)

    def _stop_reading(self, worker: Worker) -> None:
        link = self._links[worker.ident]
        link.over = True
        if not link.closed:
            self._office.loop.remove_reader(link.channel.fileno())

    def _end_liar(self, worker: Worker, error: ProtocolError) -> None:
        self._log.error(f"{name_of(worker)}: {error}", **facts_of(worker))
        self._stop_reading(worker)  # what follows in the line is of no account, its last words included
        self.kill(worker, "it sent garbage", dump=False)

    def _hear_last_words(self, worker: Worker, link: WorkerLink) -> None:
        """Take in what a worker that has ended had still said."""
        try:
            for message, _ in link.channel.receive():
                self._hear(worker, message)
        except ChannelClosed:
            pass
        except ProtocolError as error:
            self._log.error(f"{name_of(worker)}: {error}", **facts_of(worker))

    def _hear(self, worker: Worker, message: Message) -> None:
        match message:
            case Ready() if worker.state is WorkerState.READY:
                raise ProtocolError("it says twice that it is ready")
            case Ready():
                # By nonce, not by pid or path: an answer of an earlier worker must never count.
                if (message.generation, message.nonce) != (worker.generation, worker.nonce):
                    raise ProtocolError("it claims to be another worker")
                self._ready(worker, message)
            case Accepting() if not worker.told_to_accept:
                raise ProtocolError("it accepts connections without being told to")
            case Accepting():
                worker.admitted = True
            case Draining():
                worker.admitted = False
                if worker.state is WorkerState.READY and not worker.recycle:
                    self.recycle(worker, "it stopped accepting, unasked")
            case Failed():
                failure = message.reason if message.stage == "serving" else f"{message.stage}: {message.reason}"
                worker.failure = clip(failure, MAX_REASON_CHARS)
                worker.traceback, worker.logged = clip(message.traceback), message.logged
            case Logged():
                self._office.recent.hear(message.text)
            case FilesChanged() if worker.launched:
                self._on_change(worker.generation, worker.pid, message.paths)
            case WantsRetirement():
                if not worker.recycle:
                    self.recycle(worker, clip(message.reason, MAX_REASON_CHARS))
            case Goodbye():
                if message.cut:
                    cut = f"{message.cut} connection{'s' if message.cut != 1 else ''}"
                    self._log.info(f"{name_of(worker)} cut {cut} when its time to drain was over", **facts_of(worker))
            case _:
                raise ProtocolError(f"it sent a {type(message).__name__}")

    def _ready(self, worker: Worker, message: Ready) -> None:
        """It has said that it can accept."""
        if not worker.pid:
            self._links[worker.ident].early = message  # who it is, its zygote says
            return
        if message.pid != worker.pid:
            raise ProtocolError(f"it claims to be process {message.pid}")
        worker.on("ready")
        worker.ready_at = worker.heartbeat_at = monotonic()
        if self._office.policy.max_rss_bytes:
            worker.ready_rss_bytes = rss_bytes(worker.pid)
        self._log.info(f"{name_of(worker)} ready in {show_duration(message.boot_s)}", **facts_of(worker))

    # --- what zygotes say of workers -------------------------------------------------------------------------

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
            self._signal(worker, signal.SIGKILL)
        elif link.early is not None:
            self._as_said(worker, link.early)

    def _as_said(self, worker: Worker, message: Ready) -> None:
        try:
            self._ready(worker, message)
        except ProtocolError as error:
            self._end_liar(worker, error)

    def has_workers_of(self, zygote: ZygoteLink) -> bool:
        """Whether it is the parent of one that has not ended."""
        return any(link.zygote is zygote for link in self._links.values())

    def knows(self, pid: int) -> bool:
        """Whether `pid` is one of our workers."""
        return any(worker.pid == pid for worker in self._fleet.workers.values())

    def fork_failed(self, message: ForkFailed) -> None:
        """The zygote could not make it: the system refused, or a before_fork hook did."""
        worker = self._fleet.workers.get(message.worker)
        if worker is not None:
            reason = clip(message.reason, MAX_REASON_CHARS)
            worker.failure = reason if message.errno else f"a before_fork hook raised {reason}"
            worker.traceback = "" if message.errno else clip(message.traceback)
            worker.refused = bool(message.errno)
            self.ended(worker, None)

    def zygote_lost(self, ident: int) -> None:
        """The zygote died with our order unanswered. Another one gets it; should the process exist after all,
        it finds its channel closed and ends."""
        worker = self._fleet.workers.get(ident)
        if worker is not None:
            worker.retired = worker.retired or "zygote lost"
            self.ended(worker, None)

    def reaped(self, zygote: ZygoteLink, pid: int, status: int) -> None:
        """A child of a zygote has ended. Raises ProtocolError for one that has not, and for another's child."""
        for worker in list(self._fleet.workers.values()):
            link = self._links[worker.ident]
            if pid not in (worker.pid, link.said_pid):
                continue
            if link.zygote is not zygote or (worker.pid and not has_ended(pid, link.pidfd)):
                raise ProtocolError(f"it reports the end of {name_of(worker)}, which is not so")
            zygote.unanswered.pop(worker.ident, None)
            worker.pid = pid
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
        return reap(worker.pid, with_group=True, say=lambda left: self._log.info(ended_with(name_of(worker), left)))

    def close(self) -> None:
        """All workers are gone, or left to themselves."""
        self._warden.close(needed=bool(self._fleet.workers))

    # --- the end of a worker ---------------------------------------------------------------------------------

    def ended(self, worker: Worker, status: int | None) -> None:
        """Account for a worker that is gone. status: as waitpid gives it; None where nobody could learn it."""
        regain(worker.pid)  # it may have been at a prompt, and without us Ctrl+C would be nobody's
        link = self._links[worker.ident]
        if not link.over and not link.closed:
            self._hear_last_words(worker, link)
        if worker.loading and link.birth is not None and status is not None:
            worker.failure, worker.traceback, worker.logged = link.birth.explain(status)
        self._office.forget(link.channel)
        link.close()
        del self._links[worker.ident]
        self._watch.forget(worker)
        figures = self._office.scoreboard.cell(worker.cell).read()
        self.totals.add(figures)
        requests, failed = self.slot_requests.get(worker.slot, (0, 0))
        self.slot_requests[worker.slot] = (requests + figures.requests, failed + figures.responses[4])
        self._cells.give_back(worker.cell)
        self._office.datagrams.leave(worker.ident)
        phase = worker.state
        worker.on("exit")
        del self._fleet.workers[worker.ident]
        how = describe_exit(status) if status is not None else "unknown"
        served_s = monotonic() - worker.ready_at if worker.ready_at else None
        worker.loss_weight = weight_of(served_s, sigkill=how == "SIGKILL" and not worker.killed)
        why = worker.killed or worker.failure or (worker.recycle or worker.retired if worker.retired else "died")
        self.last_exits[worker.slot] = {
            "how": how,
            "why": why,
            "at": wall_time(),
            "pid": worker.pid,
            "generation": worker.generation,
        }
        kind = _kind_of_exit(worker, status)
        self.exit_counts[kind] = self.exit_counts.get(kind, 0) + 1
        if worker.retired:
            self._ended_as_told(worker, how, status, phase)
        else:
            self._ended_unasked(worker, how)
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

    def _ended_unasked(self, worker: Worker, how: str) -> None:
        age = show_duration(monotonic() - (worker.ready_at or worker.spawned_at))
        born = "launch" if worker.launched else "fork"
        when = f"{age} after it was ready" if worker.ready_at else f"{age} after its {born}, before it was ready"
        if worker.killed:
            what = f"{name_of(worker)} was killed: {worker.killed}"
        elif not worker.pid:
            what = f"{name_of(worker)} could not be made: {worker.failure}"
        elif worker.failure and not worker.ready_at:
            what = f"{worker.failure} ({name_of(worker)}, {age} after its {born})"
        else:
            what = f"{name_of(worker)} died: {how}, {when}" + (f": {worker.failure}" if worker.failure else "")
        self._on_loss(worker, what)

    # --- slots -----------------------------------------------------------------------------------------------

    def slot_failed(self, slot: Slot, what: str, traceback: str = "", weight: float = 1.0) -> None:
        """Count a failure of the slot, and say when it will be filled again. weight: see `backoff.weight_of`."""
        now = monotonic()
        slot.failures = slot.failures.failed(now, weight)
        slot.restarts += 1
        delay = delay_before_respawn(slot.failures, now)
        level = "warning"
        if delay is None:
            slot.on("give_up")
            slot.retry_at = now + HEAL_AFTER_S
            then = f"given up after repeated failures; next attempt in {show_duration(HEAL_AFTER_S)} or on reload"
            level = "error"
        elif any(worker.fresh for worker in self._fleet.in_slot(slot.index)):
            then = "its replacement is there already"
        else:
            slot.on("failure")
            slot.retry_at = now + delay
            then = f"replaced in {show_duration(delay)}" if delay else "replaced at once"
        facts = {"slot": slot.index, "state": slot.state.value, "restarts": slot.restarts, "traceback": traceback}
        self._log.write(level, f"{what}; {then}", facts)

    def slot_refused(self, slot: Slot, what: str) -> None:
        """The system had no process or descriptor for it. That says nothing about the app, so it is not counted; the
        shortage may be over any moment."""
        slot.on("failure")
        slot.retry_at = monotonic() + REFUSED_RETRY_S
        facts = {"slot": slot.index, "state": slot.state.value, "restarts": slot.restarts}
        self._log.write("warning", f"{what}; next attempt in {show_duration(REFUSED_RETRY_S)}", facts)

    def heal(self, slot: Slot) -> None:
        """Forgive the slot's failures: new code, or somebody's explicit wish."""
        slot.failures = FailureRate()
        slot.retry_at = 0.0
        if slot.state in (SlotState.BACKOFF, SlotState.FAILED):
            slot.on("heal")


def name_of(worker: Worker) -> str:
    """Return the worker as every log line writes it."""
    return worker_name(worker.slot, worker.generation, worker.pid)


def facts_of(worker: Worker) -> dict[str, Any]:
    """Return what a line about the worker has as keys of its own when the log is JSON."""
    return {"slot": worker.slot, "generation": worker.generation, "worker_pid": worker.pid}


def _kind_of_exit(worker: Worker, status: int | None) -> str:
    if worker.killed:
        return "killed"
    if worker.retired:
        return "recycle" if worker.recycle else worker.retired
    return "crash" if status else "exit"
