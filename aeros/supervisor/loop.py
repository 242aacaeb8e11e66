"""The supervisor's loop: wait, take events, decide, act. All state is touched here and nowhere else.

It runs no user code, serves no request, never forks (zygotes do) and never waits for anything without a
deadline. Everything that happens only changes the fleet or its target; `reconcile` says what follows.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
from collections.abc import Callable, Sequence
from typing import Any

from ..core.channel import Channel, ChannelClosed, channel_pair
from ..core.clock import monotonic, show_duration, wall_time
from ..core.exitcodes import ExitCode
from ..core.listener import Listener
from ..core.logs import LineLog, worker_name
from ..core.messages import (
    Accepting,
    Arrived,
    Exited,
    Failed,
    FilesChanged,
    Fork,
    Forked,
    ForkFailed,
    ForkZygote,
    Go,
    Goodbye,
    Loaded,
    LoadFailed,
    Message,
    ProtocolError,
    Ready,
    ReloadOutcome,
    ReopenLogs,
    Retire,
    RetireZygote,
    WantsRetirement,
    Welcome,
    ZygoteForked,
)
from ..core.process import DUMP_SIGNAL, describe_exit, reap, send_signal
from ..core.scoreboard import HEARTBEAT, Scoreboard, anonymous_file
from ..errors import AerosError, OptionsError, ReloadFailed, ServerStopped, StateError
from .backoff import HEAL_AFTER_S, FailureRate, delay_before_respawn
from .control import ControlLine
from .fleet import Fleet, Slot, Target, Worker
from .launch import CommandLine, launch
from .ledger import Cells, Totals
from .lifecycle import ReloadState, SlotState, WorkerState
from .links import Loader, WorkerLink, ZygoteLink
from .listeners import close_all
from .policy import Policy
from .reconcile import (
    Action,
    Admit,
    ChangeOver,
    DropSlot,
    KillWorker,
    RetireWorker,
    Spawn,
    next_wake,
    overdue,
    reconcile,
)
from .reload import Reload, ReloadRecord, Waiter

#: How often heartbeats and limits are looked at when nothing else happens.
TICK_S = 1.0
#: A supervisor that was itself held up longer than this trusts no heartbeat it has not seen since.
_OWN_GAP_S = 3.0
#: A zygote that does not answer an order to fork within this time is stuck, and replaced.
_FORK_TIMEOUT_S = 10.0
#: The first worker of a generation goes ahead alone for this long, so that a start that fails, fails once.
_PILOT_S = 2.0
#: Time for a stack dump to be written before the process is killed.
_DUMP_S = 0.3
#: New workers of a refused reload get this long to end by themselves.
_REVERT_S = 5.0
#: How often memory is looked at, when --max-rss is set.
_RSS_EVERY_S = 5.0
_STDERR_TAIL = 64 * 1024


class Supervisor:
    """One server. `run` returns its exit code."""

    def __init__(
        self,
        *,
        policy: Policy,
        listeners: list[Listener],
        scoreboard: Scoreboard,
        log: LineLog,
        command: CommandLine,
        zygote: ZygoteLink,
        announce: Callable[[Supervisor], None],
        control: str,
    ) -> None:
        self.policy = policy
        self.listeners = listeners
        self.addresses = [listener.address for listener in listeners]
        self.scoreboard = scoreboard
        self.log = log
        self.command = command
        self.started_at = wall_time()
        self.fleet = Fleet()
        self.target = Target(policy.workers, committed=1, surge=policy.reload_surge)
        self.reload = Reload()
        self.last_reload: ReloadRecord | None = None
        self.reloads = {"ok": 0, "failed": 0}
        self.was_ready = False
        self.exit_code = ExitCode.OK
        self.start_failure: tuple[str, str] = ("", "")
        self.control: ControlLine
        self._announce = announce
        self._control_where = control
        self._links: dict[int, WorkerLink] = {}
        self._zygotes: list[ZygoteLink] = [zygote]
        self._loader: Loader | None = None
        self._cells = Cells(scoreboard)
        self._totals = Totals()
        self._last_exits: dict[int, dict[str, Any]] = {}
        self._exit_counts: dict[str, int] = {}
        self._next_worker = 1
        self._next_generation = 2
        self._ready_waiters: list[Callable[[AerosError | None], None]] = []
        self._stop_waiters: list[Callable[[dict[str, Any] | AerosError], None]] = []
        self._last_tick = monotonic()
        self._heartbeat_floor = 0.0
        self._next_rss = 0.0
        self._zygotes_deadline = 0.0
        self._dirty = True
        self._foreign_children: set[int] = set()

    # --- life ------------------------------------------------------------------------------------------------

    async def run(self, owner: Channel | None = None, foreign_children: Sequence[int] = ()) -> ExitCode:
        """Serve until stopped. owner: the handle's channel; its end stops the server. foreign_children: pids
        that are not ours to reap."""
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._foreign_children = set(foreign_children)
        self.control = ControlLine(self, self.scoreboard.read_only_fd, self.log)
        self.control.open(self._control_where)
        if owner is not None:
            self.control.adopt(owner, self._owner_is_gone)
        self._watch_zygote(self._zygotes[0])
        self._set_slots()
        self.target.pilot_until = monotonic() + _PILOT_S
        try:
            while not self._finished():
                self._wake.clear()
                self._pass()
                await self._sleep()
        finally:
            self._close()
        return self.exit_code

    async def _sleep(self) -> None:
        now = monotonic()
        wake_at = now + TICK_S if self._links else now + 60.0
        for at in (next_wake(self.fleet, self.target, self.policy, now), self.reload.deadline, self._zygotes_deadline):
            if at and at > now:
                wake_at = min(wake_at, at)
        timer = self._loop.call_later(max(0.0, wake_at - now) + 0.001, self._wake.set)
        await self._wake.wait()
        timer.cancel()

    def _pass(self) -> None:
        """Bring everything up to date: the one place where decisions become deeds."""
        now = monotonic()
        self._tick(now)
        for kill in overdue(self.fleet, self.policy, now):
            self._perform(kill)
        for _ in range(8):
            actions = reconcile(self.fleet, self._present_target(), monotonic())
            if not actions:
                break
            for action in actions:
                self._perform(action)
        self._advance_reload()
        self._check_zygotes(now)
        self._check_ready()
        if self._dirty:
            self._dirty = False
            self.scoreboard.write_summary(self.summary())

    def poke(self) -> None:
        """Something changed: look again."""
        self._dirty = True
        self._wake.set()

    def _finished(self) -> bool:
        return bool(self.target.stopping) and not self.fleet.workers and not self._zygotes and self._loader is None

    def _close(self) -> None:
        self.reload.abandon()
        for waiter in self._stop_waiters:
            waiter({"exit_code": int(self.exit_code)})
        for ready_waiter in self._ready_waiters:
            ready_waiter(self._not_ready_error())
        with contextlib.suppress(ValueError):
            self.scoreboard.write_summary(self.summary())
        self.control.close()
        close_all(self.listeners)

    # --- what others may ask ---------------------------------------------------------------------------------

    def obey(self, verb: str, arguments: dict[str, Any], reply: Callable[[dict[str, Any] | AerosError], None]) -> None:
        """Do what a control client asks; see `Commands`."""
        try:
            match verb:
                case "reload":
                    self._ask_reload(reply, _number(arguments, "timeout_s"))
                case "scale":
                    self.scale(_whole(arguments, "workers"))
                    self._when_ready(lambda error: reply(error or {"workers": self.target.workers}))
                case "restart":
                    slots = self.restart(_whole(arguments, "slot") if arguments.get("slot") is not None else None)
                    reply({"slots": slots})
                case "stop":
                    self._stop_waiters.append(reply)
                    self.stop("now" if arguments.get("now") else "graceful", "asked to stop")
                case "wait_ready":
                    self._when_ready(lambda error: reply(error or {}))
                case "reopen":
                    self.reopen_logs()
                    reply({})
                case _:
                    reply(StateError(f"there is no command {verb!r}"))
        except AerosError as error:
            reply(error)

    def stop(self, how: str, why: str) -> None:
        """Begin to end: "graceful" or "now". A stronger request overrides a weaker one, the same is ignored."""
        if self.target.stopping in (how, "now"):
            return
        first = not self.target.stopping
        self.target.stopping = how
        self.log.info(f"stopping{' now' if how == 'now' else ''}: {why}")
        if first:
            self.reload.abandon()
            self._drop_loader()
            # New connections are refused once the last worker has taken what the kernel had queued.
            for listener in self.listeners:
                listener.sock.close()
            for zygote in self._zygotes:
                self._retire_zygote(zygote)
        if how == "now":
            for link in self._links.values():
                link.channel.flush()
        self.poke()

    def request_reload(self, why: str) -> None:
        """A reload nobody waits for: SIGHUP, changed files, a lost zygote."""
        self.log.info(f"reload requested: {why}")
        self.reload.enqueue(None, None)
        self.poke()

    def scale(self, workers: int) -> None:
        """Change the number of workers. Raises OptionsError when it is not sensible."""
        if not 1 <= workers <= self.scoreboard.cells // 4:
            raise OptionsError(f"workers must be from 1 to {self.scoreboard.cells // 4}, not {workers}")
        if self.target.stopping:
            raise StateError("the server is stopping")
        if workers != self.target.workers:
            self.log.info(f"scaling from {self.target.workers} to {workers} workers")
            self.target.workers = workers
            self._set_slots()
        self.poke()

    def restart(self, slot: int | None) -> list[int]:
        """Replace the worker of `slot`, or all, one at a time; new ones first. Returns the slots."""
        chosen = sorted(self.fleet.slots) if slot is None else [slot]
        for index in chosen:
            if index not in self.fleet.slots or index >= self.target.workers:
                raise OptionsError(f"there is no slot {index}; slots are 0 to {self.target.workers - 1}")
            self._heal(self.fleet.slots[index])
            for worker in self.fleet.in_slot(index):
                if worker.alive:
                    worker.recycle = worker.recycle or "restart"
        self.poke()
        return chosen

    def reopen_logs(self) -> None:
        """Open the log files by name again, in the whole family."""
        try:
            self.log.reopen()
        except OSError as error:
            self.log.error(f"cannot reopen the log {self.log.target}: {error.strerror}; keeping the old file")
        for link in self._links.values():
            self._tell(link.channel, ReopenLogs())
        for zygote in self._zygotes:
            self._tell(zygote.channel, ReopenLogs())
        self.log.info("log files reopened")

    def _owner_is_gone(self) -> None:
        self.stop("graceful", "the program that started the server has ended or let go of it")

    def _when_ready(self, call: Callable[[AerosError | None], None]) -> None:
        self._ready_waiters.append(call)
        self.poke()

    # --- signals ---------------------------------------------------------------------------------------------

    def on_signal(self, signum: int) -> None:
        """Called by the loop, never by the handler itself."""
        match signum:
            case signal.SIGHUP:
                self.request_reload("SIGHUP")
            case signal.SIGTERM | signal.SIGINT:
                name = signal.Signals(signum).name
                self.stop("now" if self.target.stopping else "graceful", name)
            case signal.SIGQUIT:
                self.stop("now", "SIGQUIT")
            case signal.SIGTTIN | signal.SIGTTOU:
                step = 1 if signum == signal.SIGTTIN else -1
                try:
                    self.scale(self.target.workers + step)
                except AerosError as error:
                    self.log.warning(f"{signal.Signals(signum).name} ignored: {error}")
            case signal.SIGUSR1:
                self.reopen_logs()
            case signal.SIGCHLD:
                self._reap()

    # --- the tick --------------------------------------------------------------------------------------------

    def _tick(self, now: float) -> None:
        """Read the heartbeats, look at ages and sizes."""
        if now - self._last_tick > _OWN_GAP_S:
            # We were stopped, or the machine slept: others may have been as well. Everybody gets a full timeout.
            self._heartbeat_floor = now
        self._last_tick = now
        measure = bool(self.policy.max_rss_bytes) and now >= self._next_rss
        if measure:
            self._next_rss = now + _RSS_EVERY_S
        for worker in self.fleet.workers.values():
            if worker.state is not WorkerState.READY:
                continue
            beat = self.scoreboard.cell(worker.cell).words[HEARTBEAT] / 1e9
            worker.heartbeat_at = max(beat, self._heartbeat_floor, worker.ready_at)
            if worker.recycle:
                continue
            if self.policy.max_lifetime_s and now - worker.ready_at > self._lifetime_of(worker):
                self._recycle(worker, f"older than {show_duration(self.policy.max_lifetime_s)}")
            elif measure and (rss := _rss_bytes(worker.pid)) > (self.policy.max_rss_bytes or 0):
                limit = self.policy.max_rss_bytes or 0
                self._recycle(worker, f"uses {rss // 2**20} MiB, more than {limit // 2**20} MiB")

    def _lifetime_of(self, worker: Worker) -> float:
        # Spread by up to a tenth, by slot, so that workers born together do not age out together.
        return (self.policy.max_lifetime_s or 0.0) * (1.0 + 0.1 * worker.slot / max(1, self.target.workers))

    def _recycle(self, worker: Worker, reason: str) -> None:
        worker.recycle = reason
        self.log.info(f"{_name(worker)} is to be replaced: {reason}")
        self._dirty = True

    # --- deeds -----------------------------------------------------------------------------------------------

    def _present_target(self) -> Target:
        self.target.forkable = frozenset(z.generation for z in self._zygotes if z.loaded and not z.retired)
        return self.target

    def _perform(self, action: Action) -> None:
        self._dirty = True
        match action:
            case Spawn():
                self._spawn(action)
            case Admit():
                worker = self.fleet.workers[action.worker]
                worker.told_to_accept = True
                self._tell(self._links[worker.ident].channel, Go())
            case RetireWorker():
                self._retire(self.fleet.workers[action.worker], action.reason)
            case KillWorker():
                self._kill(self.fleet.workers[action.worker], action.reason, dump=action.dump)
            case ChangeOver():
                assert self.target.candidate is not None
                self.fleet.slots[action.slot].generation = self.target.candidate
            case DropSlot():
                del self.fleet.slots[action.slot]

    def _spawn(self, action: Spawn) -> None:
        slot = self.fleet.slots[action.slot]
        cell = self._cells.take()
        zygote = next(z for z in self._zygotes if z.generation == action.generation and z.loaded and not z.retired)
        if cell is None:
            self._slot_failed(slot, "every cell of the scoreboard is in use")
            return
        channel, theirs = channel_pair("a worker")
        dump_fd = anonymous_file("aeros-stacks")
        now = monotonic()
        worker = Worker(self._next_worker, action.slot, action.generation, cell, secrets.token_hex(8), now)
        self._next_worker += 1
        self.fleet.workers[worker.ident] = worker
        self._links[worker.ident] = WorkerLink(channel, dump_fd)
        slot.on("spawn")
        slot.retry_at = 0.0
        self._loop.add_reader(channel.fileno(), self._on_worker_message, worker)
        zygote.unanswered[worker.ident] = now
        order = Fork(worker.ident, worker.slot, worker.generation, cell, worker.nonce)
        with theirs:
            self._tell(zygote.channel, order, [theirs.fileno(), dump_fd])

    def _retire(self, worker: Worker, reason: str) -> None:
        worker.on("retire")
        worker.retired = reason
        total = _REVERT_S if reason == "revert" else self.policy.total_timeout_s
        worker.drain_deadline = monotonic() + total
        drain = min(self.policy.drain_timeout_s, total)
        self._tell(self._links[worker.ident].channel, Retire(reason, drain, total))
        self.log.debug(f"{_name(worker)} drains: {worker.recycle or reason}")

    def _kill(self, worker: Worker, reason: str, *, dump: bool) -> None:
        again = worker.state is WorkerState.KILLING
        worker.on("kill")
        worker.killed, worker.killed_at = reason, monotonic()
        link = self._links[worker.ident]
        if again:
            self.log.error(f"{_name(worker)} is still there after SIGKILL; the system holds it (uninterruptible?)")
        if not worker.pid:
            return  # not forked yet: what its zygote answers, or the zygote's own deadline, decides
        if dump and not again and not self.target.stopping == "now":
            send_signal(worker.pid, link.pidfd, DUMP_SIGNAL)
            self._loop.call_later(_DUMP_S, self._kill_after_dump, worker)
        else:
            send_signal(worker.pid, link.pidfd, signal.SIGKILL)

    def _kill_after_dump(self, worker: Worker) -> None:
        if worker.ident not in self.fleet.workers:
            return
        link = self._links[worker.ident]
        stacks = link.read_dump()
        text = f"{_name(worker)} is killed: {worker.killed}"
        self.log.error(text + ("" if stacks else "; it could not say where it was"), traceback=stacks)
        send_signal(worker.pid, link.pidfd, signal.SIGKILL)

    def _tell(self, channel: Channel, message: Message, fds: Sequence[int] = ()) -> None:
        """Send; a process that is gone is noticed by its exit, not here."""
        try:
            channel.send(message, fds)
            if channel.pending:
                self._loop.add_writer(channel.fileno(), self._flush, channel)
        except ChannelClosed:
            pass

    def _flush(self, channel: Channel) -> None:
        done = True
        with contextlib.suppress(ChannelClosed):
            done = channel.flush()
        if done:
            self._loop.remove_writer(channel.fileno())

    # --- what workers say ------------------------------------------------------------------------------------

    def _on_worker_message(self, worker: Worker) -> None:
        self._read_worker(worker)
        self.poke()

    def _read_worker(self, worker: Worker) -> None:
        link = self._links[worker.ident]
        try:
            for message, _ in link.channel.receive():
                self._from_worker(worker, message)
        except ChannelClosed:
            # Its exit is reported by its zygote. Until then there is nothing more to read here.
            self._loop.remove_reader(link.channel.fileno())
        except ProtocolError as error:
            self.log.error(f"{_name(worker)}: {error}")
            self._kill(worker, "it sent garbage", dump=False)

    def _from_worker(self, worker: Worker, message: Message) -> None:
        match message:
            case Ready():
                if (message.generation, message.nonce) != (worker.generation, worker.nonce):
                    raise ProtocolError("claims to be another worker")
                worker.on("ready")
                worker.ready_at = monotonic()
                worker.heartbeat_at = worker.ready_at
                self.log.info(f"{_name(worker)} ready in {show_duration(message.boot_s)}")
            case Accepting():
                worker.admitted = True
            case Failed():
                worker.failure = message.reason if message.stage == "serving" else f"{message.stage}: {message.reason}"
                worker.traceback = message.traceback
                worker.logged = message.logged
            case WantsRetirement():
                if not worker.recycle:
                    self._recycle(worker, message.reason)
            case Goodbye():
                if message.cut:
                    self.log.info(f"{_name(worker)} cut {message.cut} connections when its drain time was over")
            case _:
                raise ProtocolError(f"sent a {type(message).__name__}")

    def _worker_ended(self, worker: Worker, status: int | None) -> None:
        """The worker is gone, reaped by its zygote or by us. status: None where nobody could learn it."""
        link = self._links[worker.ident]
        if link.channel.fileno() != -1:
            with contextlib.suppress(ValueError):
                self._read_worker(worker)
        stacks = link.read_dump() if worker.state is WorkerState.KILLING else ""
        self._loop.remove_reader(link.channel.fileno())
        self._loop.remove_writer(link.channel.fileno())
        link.close()
        del self._links[worker.ident]
        self._totals.add(self.scoreboard.cell(worker.cell).read())
        self._cells.give_back(worker.cell)
        how = describe_exit(status) if status is not None else "unknown"
        phase = worker.state
        worker.on("exit")
        del self.fleet.workers[worker.ident]
        why = worker.killed or worker.failure or (f"{worker.recycle or worker.retired}" if worker.retired else "died")
        self._last_exits[worker.slot] = {"how": how, "why": why, "at": wall_time(), "pid": worker.pid, "generation": worker.generation}
        key = _exit_key(worker, status)
        self._exit_counts[key] = self._exit_counts.get(key, 0) + 1
        if worker.retired:
            self._ended_as_told(worker, how, status, phase, stacks)
        else:
            self._ended_unasked(worker, how)
        self.poke()

    def _ended_as_told(self, worker: Worker, how: str, status: int | None, phase: WorkerState, stacks: str) -> None:
        if worker.killed and self.target.stopping != "now":
            self.log.warning(f"{_name(worker)} was killed: {worker.killed}", traceback=stacks)
            if self.target.stopping:
                self._first_error(ExitCode.KILLED)
        elif status and phase is not WorkerState.KILLING:
            self.log.error(f"{_name(worker)} ended with {how}: {worker.failure or 'no reason given'}", traceback=worker.traceback)
        else:
            self.log.info(f"{_name(worker)} ended ({worker.recycle or worker.retired})")
        slot = self.fleet.slots.get(worker.slot)
        if slot is not None and slot.state is SlotState.FILLED and not self.fleet.in_slot(worker.slot):
            slot.on("expected_exit")

    def _ended_unasked(self, worker: Worker, how: str) -> None:
        age = show_duration(monotonic() - (worker.ready_at or worker.spawned_at))
        when = f"{age} after it was ready" if worker.ready_at else f"{age} after its fork, before it was ready"
        what = f"{_name(worker)} died: {how}, {when}" + (f": {worker.failure}" if worker.failure else "")
        if worker.killed:
            what = f"{_name(worker)} was killed: {worker.killed}"
        if self.target.stopping:
            self.log.info(what)
        elif worker.generation == self.target.candidate:
            self.log.error(what)
            self._fail_reload(f"a new worker {_strip(what)}", worker.traceback, logged=worker.logged)
        elif not self.was_ready and not worker.ready_at:
            self._fail_start(what, worker.traceback, logged=worker.logged)
        else:
            slot = self.fleet.slots.get(worker.slot)
            if slot is not None and worker.slot < self.target.workers:
                slot.restarts += 1
                self._slot_failed(slot, what, "" if worker.logged else worker.traceback)
            else:
                self.log.warning(what)

    def _slot_failed(self, slot: Slot, what: str, traceback: str = "") -> None:
        """Count a failure of the slot, and say when it will be filled again."""
        now = monotonic()
        slot.failures = slot.failures.failed(now)
        delay = delay_before_respawn(slot.failures, now)
        covered = any(worker.fresh for worker in self.fleet.in_slot(slot.index))
        if delay is None:
            slot.on("give_up")
            slot.retry_at = now + HEAL_AFTER_S
            then = f"given up after repeated failures; next attempt in {show_duration(HEAL_AFTER_S)} or on reload"
        elif covered:
            then = "its replacement is there already"
        else:
            slot.on("failure")
            slot.retry_at = now + delay
            then = f"replaced in {show_duration(delay)}" if delay else "replaced at once"
        level = "error" if delay is None else "warning"
        self.log.write(level, f"{what}; {then}", {"traceback": traceback})

    def _heal(self, slot: Slot) -> None:
        slot.failures = FailureRate()
        slot.retry_at = 0.0
        if slot.state in (SlotState.BACKOFF, SlotState.FAILED):
            slot.on("heal")

    # --- zygotes ---------------------------------------------------------------------------------------------

    def _watch_zygote(self, zygote: ZygoteLink) -> None:
        self._loop.add_reader(zygote.channel.fileno(), self._on_zygote_message, zygote)

    def _on_zygote_message(self, zygote: ZygoteLink) -> None:
        try:
            for message, fds in zygote.channel.receive():
                self._from_zygote(zygote, message, fds)
        except ChannelClosed:
            self._zygote_gone(zygote)
        except ProtocolError as error:
            self.log.error(f"zygote gen={zygote.generation} pid={zygote.pid}: {error}; it is ended")
            self._kill_zygote(zygote)
        self.poke()

    def _from_zygote(self, zygote: ZygoteLink, message: Message, fds: list[int]) -> None:
        match message:
            case Arrived():
                self._welcome(zygote, message)
            case Loaded():
                zygote.pid, zygote.loaded = message.pid, True
                self._zygote_loaded(zygote, message)
            case LoadFailed():
                self._fail_reload(message.reason, message.traceback)
            case Forked():
                self._forked(zygote, message, fds)
            case ForkFailed():
                self._fork_failed(zygote, message)
            case ZygoteForked():
                pass
            case Exited():
                worker = next((w for w in self.fleet.workers.values() if w.pid == message.pid), None)
                if worker is not None:
                    self._worker_ended(worker, message.status)
            case FilesChanged():
                if zygote.generation == self.target.committed:
                    self.request_reload(f"changed: {', '.join(os.path.basename(path) for path in message.paths[:3])}")
            case _:
                raise ProtocolError(f"sent a {type(message).__name__}")

    def _welcome(self, zygote: ZygoteLink, message: Arrived) -> None:
        zygote.pid = message.pid
        fds = [self.scoreboard.fd, 2, *(listener.sock.fileno() for listener in self.listeners)]
        described = [listener.describe() for listener in self.listeners]
        self._tell(zygote.channel, Welcome(zygote.generation, os.getpid(), len(fds), described), fds)

    def _zygote_loaded(self, zygote: ZygoteLink, message: Loaded) -> None:
        if self.target.stopping:
            self._retire_zygote(zygote)
            return
        reloading = self.reload.state is ReloadState.LOADING and zygote.generation == self.reload.generation
        if not reloading:
            return
        self._forget_loader()
        self.reload.on("loaded")
        self.reload.deadline = monotonic() + self.policy.boot_timeout_s
        self._candidate_policy = Policy.from_message(message.policy)
        for line in message.options:
            self.log.info(line)
        for slot in self.fleet.slots.values():
            self._heal(slot)
        self.target.candidate = zygote.generation
        self.target.surge = self._candidate_policy.reload_surge
        self.target.pilot_until = monotonic() + _PILOT_S

    def _forked(self, zygote: ZygoteLink, message: Forked, fds: list[int]) -> None:
        zygote.unanswered.pop(message.worker, None)
        worker = self.fleet.workers.get(message.worker)
        if worker is None:
            # Given up meanwhile; without a channel it ends by itself.
            for fd in fds:
                os.close(fd)
            return
        worker.pid = message.pid
        link = self._links[worker.ident]
        link.pidfd = fds[0] if fds else None
        if worker.state is WorkerState.KILLING:
            send_signal(worker.pid, link.pidfd, signal.SIGKILL)

    def _fork_failed(self, zygote: ZygoteLink, message: ForkFailed) -> None:
        zygote.unanswered.pop(message.worker, None)
        worker = self.fleet.workers.get(message.worker)
        if worker is not None:
            worker.failure = f"cannot fork: {message.reason}"
            worker.traceback = "" if message.errno else message.traceback
            self._worker_ended(worker, None)

    def _zygote_gone(self, zygote: ZygoteLink) -> None:
        """End-of-file: the process has ended or closed its channel; either way it forks no more."""
        if zygote not in self._zygotes:
            return
        self._zygotes.remove(zygote)
        self._loop.remove_reader(zygote.channel.fileno())
        zygote.channel.close()
        for ident in list(zygote.unanswered):
            worker = self.fleet.workers.get(ident)
            if worker is not None:
                worker.retired = worker.retired or "zygote lost"
                self._worker_ended(worker, None)
        if not zygote.retired and self.reload.state is not ReloadState.IDLE and zygote.generation == self.reload.generation:
            if self._loader is None:
                self._fail_reload("the new generation's zygote died")
            # else: the program's own end explains it; see _reap
        elif not zygote.retired and not self.target.stopping:
            self._replace_zygote(zygote)
        self.poke()

    def _replace_zygote(self, zygote: ZygoteLink) -> None:
        left = [z for z in self._zygotes if z.generation == zygote.generation and not z.retired]
        if left:
            self.log.warning(f"zygote gen={zygote.generation} pid={zygote.pid} died; its spare takes over")
        elif not self.was_ready:
            self._fail_start(f"zygote gen={zygote.generation} pid={zygote.pid} died")
        elif zygote.generation == self.target.committed:
            if self.command.why_not:
                self.log.critical(
                    f"zygote gen={zygote.generation} pid={zygote.pid} died and cannot be replaced ({self.command.why_not}): "
                    "workers that die from now on stay dead; restart the server"
                )
            else:
                self.log.warning(f"zygote gen={zygote.generation} pid={zygote.pid} died; reloading to replace it")
                self.request_reload("the zygote died")

    def _kill_zygote(self, zygote: ZygoteLink) -> None:
        if zygote.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(zygote.pid, signal.SIGKILL)
        self._zygote_gone(zygote)

    def _retire_zygote(self, zygote: ZygoteLink) -> None:
        if not zygote.retired:
            zygote.retired = True
            self._tell(zygote.channel, RetireZygote())

    def _check_zygotes(self, now: float) -> None:
        """Stuck zygotes are killed; the serving generation gets a spare; finished generations are let go."""
        for zygote in list(self._zygotes):
            if zygote.unanswered and now - min(zygote.unanswered.values()) > _FORK_TIMEOUT_S:
                self.log.error(f"zygote gen={zygote.generation} pid={zygote.pid} has not forked for {_FORK_TIMEOUT_S:.0f} s; it is killed")
                self._kill_zygote(zygote)
        if self.was_ready and not self.target.stopping:
            self._keep_spare()
        if self.target.stopping and not self.fleet.workers and self._zygotes:
            # They have nothing left to wait for.
            if not self._zygotes_deadline:
                self._zygotes_deadline = now + 2.0
            elif now >= self._zygotes_deadline:
                for zygote in list(self._zygotes):
                    self._kill_zygote(zygote)

    def _keep_spare(self) -> None:
        """One zygote forks, one stands by: the death of either costs nothing."""
        generation = self.target.committed
        own = [zygote for zygote in self._zygotes if zygote.generation == generation and not zygote.retired]
        if len(own) == 1 and own[0].loaded and not own[0].spare_asked and self.reload.idle:
            own[0].spare_asked = True
            self._fork_zygote(own[0], generation)

    def _fork_zygote(self, parent: ZygoteLink, generation: int) -> ZygoteLink:
        channel, theirs = channel_pair("a zygote")
        spare = ZygoteLink(generation, channel)
        self._zygotes.append(spare)
        self._watch_zygote(spare)
        with theirs:
            self._tell(parent.channel, ForkZygote(generation), [theirs.fileno()])
        return spare

    # --- reload ----------------------------------------------------------------------------------------------

    def _ask_reload(self, reply: Callable[[dict[str, Any] | AerosError], None], timeout_s: float | None) -> None:
        if self.target.stopping:
            raise StateError("the server is stopping")
        self.reload.enqueue(_reload_waiter(reply), timeout_s)
        self.poke()

    def _advance_reload(self) -> None:
        now = monotonic()
        if self.target.stopping:
            return
        if self.reload.state in (ReloadState.LOADING, ReloadState.ROLLING) and now >= self.reload.deadline:
            self._reload_overdue()
        if self.reload.state is ReloadState.ROLLING:
            slots = [slot for slot in self.fleet.slots.values() if slot.index < self.target.workers]
            candidate = self.target.candidate
            served = {w.slot for w in self.fleet.workers.values() if w.generation == candidate and w.serving}
            if all(slot.generation == candidate and slot.index in served for slot in slots):
                self._commit_reload()
        if self.reload.state is ReloadState.REVERTING and not self._leftovers(self.reload.generation):
            self.reload.on("reverted")
            self._finish_reload(self.reload.failure)
        elif self.reload.state is ReloadState.REVERTING and now >= self.reload.deadline:
            for zygote in [z for z in self._zygotes if z.generation == self.reload.generation]:
                self._kill_zygote(zygote)
        if self.reload.idle and self.reload.queued and self.was_ready:
            self._begin_reload(now)

    def _leftovers(self, generation: int) -> bool:
        if any(zygote.generation == generation for zygote in self._zygotes) or self._loader is not None:
            return True
        return bool(self.fleet.of_generation(generation))

    def _begin_reload(self, now: float) -> None:
        timeout = min(self.reload.queued_timeout_s or self.policy.boot_timeout_s, self.policy.boot_timeout_s)
        generation = self._next_generation
        self._next_generation += 1
        how = "refork" if self.command.why_not else "rerun"
        self.reload.begin(generation, how, now, now + timeout)
        if how == "refork":
            parent = next((z for z in self._zygotes if z.generation == self.target.committed and not z.retired), None)
            if parent is None:
                self._fail_reload("the zygote is gone, and the program cannot be run again: " + self.command.why_not)
            else:
                self._fork_zygote(parent, generation)
            return
        self.log.info(f"reloading: running the program again as generation {generation}")
        try:
            self._run_again(generation)
        except OSError as error:
            self._fail_reload(f"cannot run the program again: {error}")

    def _run_again(self, generation: int) -> None:
        channel, theirs = channel_pair("the new program")
        stderr_read, stderr_write = os.pipe()
        try:
            with theirs:
                pid = launch(self.command, theirs.fileno(), stderr_write)
        except OSError:
            channel.close()
            os.close(stderr_read)
            raise
        finally:
            os.close(stderr_write)
        os.set_blocking(stderr_read, False)
        self._loader = Loader(pid, generation, stderr_read)
        self._loop.add_reader(stderr_read, self._on_loader_stderr, self._loader)
        zygote = ZygoteLink(generation, channel, pid=pid)
        self._zygotes.append(zygote)
        self._watch_zygote(zygote)

    def _on_loader_stderr(self, loader: Loader) -> None:
        try:
            data = os.read(loader.stderr_fd, 65536)
        except BlockingIOError:
            return
        if data:
            self.log.emit(data.decode("utf-8", "replace"))
            loader.stderr += data
            del loader.stderr[:-_STDERR_TAIL]
            return
        self._loop.remove_reader(loader.stderr_fd)

    def _forget_loader(self) -> None:
        """The program has reached start() and is a zygote now; its standard error is the server's own again."""
        loader, self._loader = self._loader, None
        if loader is not None:
            self._close_loader(loader)

    def _close_loader(self, loader: Loader) -> None:
        while True:  # what it said last
            before = len(loader.stderr)
            self._on_loader_stderr(loader)
            if len(loader.stderr) == before:
                break
        self._loop.remove_reader(loader.stderr_fd)
        os.close(loader.stderr_fd)

    def _drop_loader(self) -> None:
        """End a program that is being run again, if it has not come as far as start()."""
        loader = self._loader
        if loader is None:
            return
        for zygote in self._zygotes:
            if zygote.generation == loader.generation:
                zygote.retired = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(loader.pid, signal.SIGKILL)

    def _reload_overdue(self) -> None:
        took = show_duration(monotonic() - self.reload.started_at)
        if self.reload.state is ReloadState.LOADING and self._loader is not None and not self._loader_abort_sent():
            # Ask where it hangs (PYTHONFAULTHANDLER answers SIGABRT with a stack), then it is gone.
            self.log.error(f"the new program has not reached start() after {took}; it is ended, its stack follows")
            _no_core(self._loader.pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._loader.pid, signal.SIGABRT)
            self._abort_sent = self._loader.generation
            self.reload.deadline = monotonic() + 2.0
            return
        starting = [w for w in self.fleet.of_generation(self.reload.generation) if w.state is WorkerState.STARTING]
        reason = f"not ready after {took}"
        if starting:
            for worker in starting:
                self._kill(worker, reason, dump=True)
            self._fail_reload(f"{_name(starting[0])} of the new generation was {reason}")
        else:
            self._fail_reload(reason)

    _abort_sent = 0

    def _loader_abort_sent(self) -> bool:
        return self._loader is not None and self._abort_sent == self._loader.generation

    def _commit_reload(self) -> None:
        now = monotonic()
        old, new = self.target.committed, self.reload.generation
        self.reload.on("commit")
        self.target.committed, self.target.candidate = new, None
        before, self.policy = self.policy, self._candidate_policy
        if self.policy.workers != before.workers and self.policy.workers != self.target.workers:
            self.log.info(f"the new program asks for {self.policy.workers} workers")
            self.target.workers = self.policy.workers
            self._set_slots()
        for slot in self.fleet.slots.values():
            slot.generation = new
        for zygote in self._zygotes:
            if zygote.generation == old:
                self._retire_zygote(zygote)
        self.reloads["ok"] += 1
        record = ReloadRecord(True, new, self.reload.how, round(now - self.reload.started_at, 3), wall_time())
        same = "" if record.how == "rerun" else f" (same code: {self.command.why_not})"
        self.log.info(f"reloaded: generation {new} serves after {show_duration(record.seconds)}{same}")
        self._finish_reload(record)

    def _fail_reload(self, reason: str, traceback: str = "", *, logged: bool = False) -> None:
        """The new generation is not coming: put everything back, tell who asked when that is done.

        logged: the log has the traceback already, from the program itself.
        """
        if self.reload.state not in (ReloadState.LOADING, ReloadState.ROLLING):
            return
        now = monotonic()
        self.reload.on("fail")
        self.reload.deadline = now + _REVERT_S + 2.0
        new = self.reload.generation
        self.target.candidate = None
        self.target.surge = self.policy.reload_surge
        for slot in self.fleet.slots.values():
            slot.generation = self.target.committed
        self._drop_loader()
        for zygote in self._zygotes:
            if zygote.generation == new:
                self._retire_zygote(zygote)
        self.reloads["failed"] += 1
        seconds = round(now - self.reload.started_at, 3)
        self.reload.failure = ReloadRecord(False, new, self.reload.how, seconds, wall_time(), reason, traceback)
        self.log.error(
            f"reload refused, generation {self.target.committed} goes on serving: {reason}",
            traceback="" if logged else traceback,
        )

    def _finish_reload(self, record: ReloadRecord | None) -> None:
        self.last_reload = record
        self.reload.deadline = 0.0
        if record is not None:
            outcome = ReloadOutcome(record.ok, record.generation, record.reason, record.traceback, record.seconds)
            zygote = next((z for z in self._zygotes if z.generation == self.target.committed and z.loaded), None)
            if zygote is not None:
                self._tell(zygote.channel, outcome)
        self.reload.finish(record)
        self.poke()

    # --- children of our own ---------------------------------------------------------------------------------

    def _reap(self) -> None:
        """Reap zygotes, programs being run again, and every orphan the family (or, as PID 1, the system) left us."""
        if self._loader is not None:
            self._reap_loader(self._loader)
        adopted = {worker.pid: worker for worker in self.fleet.workers.values() if worker.pid}
        for pid, worker in adopted.items():
            with contextlib.suppress(ChildProcessError):
                status = reap(pid, with_group=True)
                if status is not None:
                    self._worker_ended(worker, status)
        if not self._foreign_children:
            keep = self._loader.pid if self._loader is not None else 0
            while (ended := _peek_ended()) and ended != keep:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(ended, os.WNOHANG)
        else:
            for zygote_pid in {zygote.pid for zygote in self._zygotes}:
                with contextlib.suppress(ChildProcessError):
                    reap(zygote_pid)
        self.poke()

    def _reap_loader(self, loader: Loader) -> None:
        try:
            status = reap(loader.pid)
        except ChildProcessError:
            status = 0
        if status is None:
            return
        self._close_loader(loader)
        self._loader = None
        zygote = next((z for z in self._zygotes if z.generation == loader.generation), None)
        if zygote is None or not zygote.loaded:
            said = loader.stderr.decode("utf-8", "replace")
            self._loader_failed(loader, status, said)
        if zygote is not None:
            zygote.retired = zygote.retired or not zygote.loaded
            if not zygote.loaded:
                self._zygote_gone(zygote)

    def _loader_failed(self, loader: Loader, status: int, said: str) -> None:
        last = next((line for line in reversed(said.splitlines()) if line.strip()), "")
        how = describe_exit(status)
        if self._abort_sent == loader.generation:
            reason = f"the new program had not reached start() after {show_duration(monotonic() - self.reload.started_at)}"
        elif status and last:
            reason = f"the new program ended with {how} before it reached start(): {last}"
        else:
            reason = f"the new program ended with {how} before it reached start()"
        if self.reload.generation == loader.generation:
            self._fail_reload(reason, said, logged=True)

    # --- start and readiness ---------------------------------------------------------------------------------

    def _set_slots(self) -> None:
        for index in range(self.target.workers):
            if index not in self.fleet.slots:
                self.fleet.slots[index] = Slot(index, self.target.committed)

    def _check_ready(self) -> None:
        full = len({w.slot for w in self.fleet.serving() if w.slot < self.target.workers}) >= self.target.workers
        settled = full and not any(worker.slot >= self.target.workers and worker.alive for worker in self.fleet.workers.values())
        if settled and not self.was_ready:
            self.was_ready = True
            self._dirty = True
            self._announce(self)
        if settled and self.was_ready:
            waiters, self._ready_waiters = self._ready_waiters, []
            for waiter in waiters:
                waiter(None)

    def _fail_start(self, reason: str, traceback: str = "", *, logged: bool = False) -> None:
        """The first generation cannot be brought up: say why once, leave nothing running."""
        if self.start_failure[0]:
            return
        self.start_failure = (reason, traceback)
        self.log.critical(f"the server cannot start: {reason}", traceback="" if logged else traceback)
        self._first_error(ExitCode.APP)
        self.stop("graceful", "the start failed")
        for worker in list(self.fleet.workers.values()):
            if worker.state is WorkerState.STARTING and worker.pid:
                worker.retired = "stop"
                self._kill(worker, "the start failed", dump=False)

    def _first_error(self, code: ExitCode) -> None:
        if self.exit_code is ExitCode.OK:
            self.exit_code = code

    def _not_ready_error(self) -> AerosError | None:
        if self.start_failure[0]:
            from ..errors import AppLoadError

            return AppLoadError(self.start_failure[0], traceback=self.start_failure[1])
        return ServerStopped("the server has stopped")

    # --- what the scoreboard says of us ----------------------------------------------------------------------

    @property
    def state(self) -> str:
        """starting, ready, reloading, degraded (fewer than N serve), failed (none can) or stopping."""
        if self.target.stopping:
            return "stopping"
        if not self.was_ready:
            return "starting"
        serving = len({worker.slot for worker in self.fleet.serving() if worker.slot < self.target.workers})
        if not self.reload.idle:
            return "reloading"
        if serving >= self.target.workers:
            return "ready"
        slots = [slot for slot in self.fleet.slots.values() if slot.index < self.target.workers]
        return "failed" if not serving and all(slot.state is SlotState.FAILED for slot in slots) else "degraded"

    def summary(self) -> dict[str, Any]:
        """Return what goes into the scoreboard beside the workers' own figures; see `status`."""
        offset = wall_time() - monotonic()
        return {
            "pid": os.getpid(),
            "generation": self.target.committed,
            "state": self.state,
            "target_workers": self.target.workers,
            "addresses": self.addresses,
            "control": self.control.path,
            "started_at": self.started_at,
            "last_reload": self.last_reload.to_message() if self.last_reload else None,
            "reloads": self.reloads,
            "exits": self._exit_counts,
            "totals": self._totals.to_message(),
            "slots": [
                {
                    "slot": slot.index,
                    "state": slot.state.value,
                    "restarts": slot.restarts,
                    "retry_at": slot.retry_at + offset if slot.retry_at else None,
                    "last_exit": self._last_exits.get(slot.index),
                }
                for slot in self.fleet.slots.values()
            ],
            "workers": [
                {
                    "slot": worker.slot,
                    "cell": worker.cell,
                    "pid": worker.pid,
                    "generation": worker.generation,
                    "state": worker.state.value,
                    "accepting": worker.admitted,
                    "started_at": worker.spawned_at + offset,
                    "recycle": worker.recycle,
                }
                for worker in self.fleet.workers.values()
                if worker.pid
            ],
        }


def _name(worker: Worker) -> str:
    return worker_name(worker.slot, worker.generation, worker.pid)


def _strip(what: str) -> str:
    return what.removeprefix("worker ")


def _exit_key(worker: Worker, status: int | None) -> str:
    if worker.killed:
        return "killed"
    if worker.retired:
        return "recycle" if worker.recycle else worker.retired
    return "crash" if status else "exit"


def _reload_waiter(reply: Callable[[dict[str, Any] | AerosError], None]) -> Waiter:
    def waiter(record: ReloadRecord | None) -> None:
        if record is None:
            reply(ServerStopped("the server stopped before the reload was done"))
        elif record.ok:
            reply(record.to_message())
        else:
            reply(ReloadFailed(record.reason, traceback=record.traceback))

    return waiter


def _whole(arguments: dict[str, Any], name: str) -> int:
    value = arguments.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise OptionsError(f"{name} must be a whole number, not {value!r}")
    return value


def _number(arguments: dict[str, Any], name: str) -> float | None:
    value = arguments.get(name)
    if value is None:
        return None
    if not isinstance(value, (int, float)) or isinstance(value, bool) or value <= 0:
        raise OptionsError(f"{name} must be a number of seconds above 0, not {value!r}")
    return float(value)


def _rss_bytes(pid: int) -> int:
    """Return resident memory of a worker: the cheap figure (17 us), good enough for a limit."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as statm:  # noqa: PTH123
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        pass
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def _peek_ended() -> int:
    """Return the pid of a child that has ended and is not yet reaped, 0 if there is none."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return 0
    return found.si_pid if found is not None else 0


def _no_core(pid: int) -> None:
    with contextlib.suppress(Exception):
        import resource

        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
