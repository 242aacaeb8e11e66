"""The supervisor's loop: wait, take events, decide, act.

It runs no user code, serves no request, never forks (zygotes do) and never waits for anything without a
deadline. Everything that happens only changes the fleet or its target; `reconcile` says what follows.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ..core.clock import monotonic, show_duration, wall_time
from ..core.exitcodes import ExitCode
from ..core.ipc.channel import Channel
from ..core.ipc.messages import MISBEHAVIOURS
from ..core.net.certificates import CertificateError
from ..core.process.files import make_logs
from ..core.record import as_dict
from ..core.shared.scoreboard import MAX_WORKERS, heartbeat_every_s
from ..errors import AerosError, AppLoadError, OptionsError, ServerStopped, StateError
from ..status.records import Upgraded
from ..titles import Title
from .commands import CommandHandler
from .control.dashboard import AdminChild
from .control.socket import ControlLine, Reply
from .control.systemd import Facts, Notifier
from .model.fleet import Worker
from .model.lifecycle import SlotState, WorkerState
from .model.reconcile import (
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
from .model.reload import Waiter
from .model.totals import Accounts
from .sockets.listeners import close_all
from .sockets.queues import publish_queues
from .state.office import Office
from .upgrade.inheritance import Estate
from .upgrade.running import Upgrade
from .upgrade.running import Waiter as UpgradeWaiter
from .upgrade.successor import Succession
from .workers.workforce import Workforce
from .zygotes.generations import PILOT_S, Generations
from .zygotes.links import ZygoteLink
from .zygotes.load import FORK, Load
from .zygotes.order import Order

#: How often heartbeats and limits are looked at when nothing else happens.
_TICK_S = 1.0
#: After a system call of the supervisor's own was refused.
_REFUSED_S = 1.0
#: A start that fails at once fails before the program that is to be told has asked; it asks as soon as it can.
_OWNER_ASKS_S = 5.0
#: So long is waited for more of the same before a signal stops anything. Signals that come together are one request:
#: Ctrl+C in a terminal reaches the server and its process manager, which passes it on as SIGTERM. Waiting, and not
#: ignoring those that come soon after: whoever has seen in the log that it stops, and asks again, means now.
_TOGETHER_S = 0.05
#: With no worker at all there is nothing to look at.
_IDLE_TICK_S = 60.0


class Supervisor:
    """One server. `run` returns its exit code."""

    def __init__(
        self,
        office: Office,
        zygote: ZygoteLink | None,
        announce: Callable[[Supervisor], None],
        control: str,
        admin: AdminChild | None = None,
        notifier: Notifier | None = None,
        estate: Estate | None = None,
        succession: Succession | None = None,
        pilot: Order | None = None,
        load: Load | None = None,
    ) -> None:
        """announce: called once, when all workers are ready. control: where the control socket is to be. admin: the
        dashboard's process, if there is to be one. estate, succession: see `upgrade` and `succession`. pilot: the first
        worker, where it has been ordered from `zygote` already. load: how the first generation's workers get the app;
        without a zygote they load it themselves."""
        self.office = office
        self.addresses = [listener.address for listener in office.listeners]
        self.control: ControlLine
        self.generations = Generations(office, zygote, load or Load(FORK), self._fail_start)
        self.workforce = Workforce(
            office,
            self.generations.source_of,
            self.generations.end_stuck,
            self._on_loss,
            self.generations.files_changed,
        )
        self.admin = admin
        self._announce = announce
        self._title = Title(office.policy.proctitle)
        self._notifier = notifier if notifier is not None else Notifier("", 0.0, {}, office.log)
        self._control_where = control
        self._succession = succession
        self._inherited = Accounts()
        self._zygote, self._pilot = zygote, pilot
        self.upgrade = Upgrade(
            office,
            estate if estate is not None else Estate(),
            admin,
            self._notifier,
            lambda: self._accounts(living=True),
            self._upgrade_failed,
            self._upgraded,
        )
        self._started_at = wall_time()
        self._stop_asked: asyncio.TimerHandle | None = None
        self._start_failure: tuple[str, str] | None = None
        self._ready_waiters: list[Callable[[AerosError | None], None]] = []
        self._stop_waiters: list[Callable[[ExitCode], None]] = []
        #: Whether this supervisor is the server, or still to succeed another.
        self._settled = succession is None
        self._settle_waiters: list[Callable[[], None]] = []
        self._foreign_children: frozenset[int] = frozenset()
        #: Until when the program that started this server is given time to ask what became of it; 0.0 once it has.
        self._owner_asks_until = 0.0

    # --- life ------------------------------------------------------------------------------------------------

    async def run(self, owner: Channel | None = None, foreign_children: Sequence[int] = ()) -> ExitCode:
        """Serve until stopped. owner: the handle's channel, whose end stops the server. foreign_children: pids
        that are not ours to reap."""
        office = self.office
        office.open()
        self._foreign_children = frozenset(foreign_children)
        self.control = ControlLine(CommandHandler(self), office.scoreboard.read_only_fds, office.log)
        if self._succession is None:
            self.control.open(self._control_where)
        else:
            self._succession.open(self)
        if owner is not None:
            self._owner_asks_until = monotonic() + _OWNER_ASKS_S
            self.control.adopt(owner, self._owner_is_gone)
        self.generations.open(self.workforce)
        try:
            office.take_certificates(office.target.committed, office.policy)
        except CertificateError as error:
            self._fail_start(str(error))
        if self.admin is not None:
            self.admin.open(office, self.control.adopt)
        office.fleet.set_slots(office.target)
        if self._pilot is not None and self._zygote is not None:
            self.workforce.adopt(self._pilot, self._zygote)
        office.target.pilot_until = monotonic() + PILOT_S
        try:
            while not self._finished():
                office.bell.clear()
                try:
                    self._pass()
                except OSError as error:
                    # Out of something the system has too little of. The next pass sees what is still to be done.
                    office.log.error(f"the system refuses the supervisor something: {error}; next attempt in a second")
                    await asyncio.sleep(_REFUSED_S)
                await self._sleep()
        finally:
            self._close()
        return office.exit_code

    async def _sleep(self) -> None:
        office, now = self.office, monotonic()
        tick_s = min(_TICK_S, heartbeat_every_s(office.policy.loop_warn_s)) if office.policy.loop_warn_s else _TICK_S
        wake_at = now + (tick_s if office.fleet.workers else _IDLE_TICK_S)
        next_at = next_wake(office.fleet, office.target, office.policy, now)
        wakes = (next_at, self.generations.deadline, self.upgrade.deadline, office.target.last_call_until)
        for at in (*wakes, self._notifier.wake_at, self._admin_retires_until(), self._owner_asks_until):
            if at and at > now:
                wake_at = min(wake_at, at)
        # A millisecond more, or a timer that fires a hair early makes an extra round.
        timer = office.loop.call_later(wake_at - now + 0.001, office.bell.set)
        await office.bell.wait()
        timer.cancel()

    def _pass(self) -> None:
        """Bring everything up to date: the one place where decisions become deeds."""
        office, now = self.office, monotonic()
        if office.target.last_call_until and now >= office.target.last_call_until:
            self.stop("graceful", "the drain delay is over")
        self.workforce.tick(now)
        publish_queues(office.listeners, office.scoreboard)
        self.workforce.find_unreported(now)
        self.workforce.renew_certificates(now)
        for kill in overdue(office.fleet, office.policy, now):
            self._perform(kill)
        # A deed can make the next one possible at once; a few rounds always suffice, and bound a mistake.
        for _ in range(8):
            office.target.forkable = self.generations.forkable
            office.target.self_loading = self.generations.self_loading
            actions = reconcile(office.fleet, office.target, monotonic())
            for action in actions:
                if not self._perform(action):
                    break  # and with it perhaps a reload: the rest was decided before that
            if not actions:
                break
        self.generations.advance()
        self.generations.check(now)
        self.upgrade.check(now)
        if self._succession is not None:
            self._succession.check(now)
        self._check_ready()
        facts = self._facts()
        self._notifier.tell(facts, now)
        self._title.label = office.policy.proctitle
        self._title.show(f"supervisor gen={facts.generation} {facts.state} workers={facts.serving}/{facts.wanted}")
        office.publish(self.summary)
        office.log.flush()

    def _perform(self, action: Action) -> bool:
        """Do it; False when that failed, so that what was decided with it may hold no longer."""
        office = self.office
        office.dirty = True
        match action:
            case Spawn():
                return self.workforce.spawn(action.slot, action.generation)
            case Admit():
                self.workforce.admit(office.fleet.workers[action.worker])
            case RetireWorker():
                self.workforce.retire(office.fleet.workers[action.worker], action.reason)
            case KillWorker():
                self.workforce.kill(office.fleet.workers[action.worker], action.reason, dump=action.dump)
            case ChangeOver():
                assert office.target.candidate is not None
                office.fleet.slots[action.slot].generation = office.target.candidate
            case DropSlot():
                del office.fleet.slots[action.slot]
        return True

    def _finished(self) -> bool:
        over = not self.office.fleet.workers and self.generations.gone and self.upgrade.gone
        if self.office.target.stopping != "now" and self._admin_retires_until():
            over = False
        if self._start_failure is not None and monotonic() < self._owner_asks_until:
            over = False
        return bool(self.office.target.stopping) and over

    def _admin_retires_until(self) -> float:
        return self.admin.retiring(monotonic()) if self.admin is not None else 0.0

    def _close(self) -> None:
        self.upgrade.conclude()
        for told in self._stop_waiters:
            told(self.office.exit_code)
        for waiter in self._ready_waiters:
            waiter(self._why_never_ready())
        self.office.dirty = True
        self.office.publish(self.summary)
        self.upgrade.close()
        self.workforce.close()
        if self._succession is not None:
            self._succession.close()
        if self.admin is not None:
            self.admin.close()
        self.office.recent.release()
        self.control.close()
        self._notifier.close()
        self._title.restore()
        close_all(self.office.listeners)

    # --- what others may ask ---------------------------------------------------------------------------------

    def stop(self, how: str, why: str, *, delayed: bool = False) -> None:
        """Begin to end: "graceful" or "now". A stronger request overrides a weaker one, the same is ignored.

        delayed: accept for the drain delay first, if there is one; being asked a second time cuts that short.
        """
        office = self.office
        if office.target.stopping in (how, "now"):
            return
        delay_s = office.policy.drain_delay_s
        if delayed and how == "graceful" and delay_s and office.was_ready and not office.target.last_call_until:
            self._last_call(delay_s, why)
            return
        first = not office.target.stopping
        office.target.stopping = how
        if not office.target.upgraded or how == "now":
            office.log.info(f"stopping{' now' if how == 'now' else ''}: {why}")
        if first:
            # Refused from the moment the last worker has taken what the kernel had queued.
            for listener in office.listeners:
                listener.sock.close()
            self.generations.stop()
        self.upgrade.stop(how)
        office.poke()

    def _last_call(self, delay_s: float, why: str) -> None:
        """Not ready any more, for whoever asks; but a balancer that has not asked yet goes on being served."""
        office = self.office
        office.target.last_call_until = monotonic() + delay_s
        self.workforce.last_call()
        office.log.info(f"stopping: {why}; accepting connections for {show_duration(delay_s)} more (--drain-delay)")
        self.upgrade.stop("graceful")
        office.poke()

    def reload(self, waiter: Waiter | None, timeout_s: float | None, why: str) -> None:
        """Ask for a new generation. Raises StateError when the server is stopping."""
        self._refuse_when_stopping()
        self.generations.request(waiter, timeout_s, why)

    def begin_upgrade(
        self, waiter: UpgradeWaiter | None, timeout_s: float | None, why: str, others: list[str] | None = None
    ) -> None:
        """Start the supervisor that is to succeed this one. others: arguments for its program, instead of those this
        one was started with. Raises UpgradeFailed, StateError."""
        self._refuse_when_stopping()
        self.upgrade.request(waiter, timeout_s, why, not self.generations.reload.idle, others)

    def scale(self, workers: int) -> None:
        """Change the number of workers. Raises OptionsError when it is not sensible."""
        self._refuse_when_stopping()
        office = self.office
        if not 1 <= workers <= MAX_WORKERS:
            raise OptionsError(f"workers must be from 1 to {MAX_WORKERS}, not {workers}")
        if workers != office.target.workers:
            office.log.info(f"scaling from {office.target.workers} to {workers} workers")
            office.target.workers = workers
            office.fleet.set_slots(office.target)
        office.poke()

    def restart(self, slot: int | None) -> list[int]:
        """Replace the worker of `slot`, or all, one at a time, replacements first. Returns the slots."""
        self._refuse_when_stopping()
        fleet, workers = self.office.fleet, self.office.target.workers
        if slot is not None and not 0 <= slot < workers:
            raise OptionsError(f"there is no slot {slot}; slots are 0 to {workers - 1}")
        chosen = [slot] if slot is not None else list(range(workers))
        for index in chosen:
            self.workforce.heal(fleet.slots[index])
            for worker in fleet.in_slot(index):
                if worker.alive and not worker.recycle:
                    self.workforce.recycle(worker, "restart")
        self.office.poke()
        return chosen

    def debug(self, slot: int, how: str, seconds: float | None) -> None:
        """Have the worker of `slot` fail on purpose. Raises StateError without --debug-faults or a ready worker."""
        if not self.office.policy.debug_faults:
            raise StateError("aeros debug needs a server that was started with --debug-faults")
        if how not in MISBEHAVIOURS:
            raise OptionsError(f"a worker can be told to {', '.join(MISBEHAVIOURS)}, not {how[:80]!r}")
        worker = next((worker for worker in self.office.fleet.in_slot(slot) if worker.serving), None)
        if worker is None:
            raise StateError(f"slot {slot} has no worker that serves")
        self.workforce.spoil(worker, how, seconds or 1.0)

    def stack(self, slot: int, reply: Reply) -> None:
        """Answer with where the worker of `slot` is; see `stacks`. Raises OptionsError, StateError."""
        if slot not in self.office.fleet.slots:
            raise OptionsError(f"there is no slot {slot}; slots are 0 to {self.office.target.workers - 1}")
        self.workforce.stacks(slot, reply)

    def reopen_logs(self) -> None:
        """Open the log files by name again, in the whole family."""
        log, account = self.office.log, self.office.command.account
        kept = []
        for path in self.office.policy.log_files:
            try:
                # Before anybody else opens them: the app's user may not be allowed to make files there.
                make_logs([path], account)
            except OSError as error:
                log.error(f"cannot reopen the log {path}: {error.strerror}; the old file is kept")
                kept.append(path)
        with contextlib.suppress(OSError):  # it has just been opened
            log.reopen(kept)
        self.workforce.reopen_logs(kept)
        self.generations.reopen_logs(kept)
        log.info("log files reopened")

    def _refuse_when_stopping(self) -> None:
        if self.office.target.stopping or self.office.target.last_call_until:
            raise StateError("the server is stopping")

    def _owner_is_gone(self) -> None:
        self._owner_asks_until = 0.0
        self.stop("graceful", "the program that started the server has ended, or let go of it")

    # --- signals ---------------------------------------------------------------------------------------------

    def on_signal(self, signum: int) -> None:
        """Called by the loop; the handler itself only wakes it."""
        name = signal.Signals(signum).name
        try:
            match signum:
                case signal.SIGHUP:
                    self.reload(None, None, name)
                case signal.SIGTERM | signal.SIGINT:
                    self._stop_by_signal(name)
                case signal.SIGQUIT:
                    self.stop("now", name)
                case signal.SIGTTIN:
                    self.scale(self.office.target.workers + 1)
                case signal.SIGTTOU:
                    self.scale(self.office.target.workers - 1)
                case signal.SIGUSR1:
                    self.reopen_logs()
                case signal.SIGUSR2:
                    self.begin_upgrade(None, None, name)
                case signal.SIGCHLD:
                    self._reap()
        except AerosError as error:
            self.office.log.warning(f"{name} ignored: {error}")
            if signum == signal.SIGHUP:
                self._notifier.refuse_reload(str(error))

    def _stop_by_signal(self, name: str) -> None:
        """End gracefully, or at a second request at once; see `_TOGETHER_S`."""
        if self._stop_asked is None:
            self._stop_asked = self.office.loop.call_later(_TOGETHER_S, self._stop_as_asked, name)

    def _stop_as_asked(self, name: str) -> None:
        self._stop_asked = None
        self.stop("now" if self.office.target.stopping else "graceful", name, delayed=True)

    def _reap(self) -> None:
        """Reap zygotes, programs being run again, and every orphan the family (or, as PID 1, the system) left us."""
        self.generations.reap()
        self.upgrade.reap()
        self.workforce.reap_adopted()
        if self.admin is not None:
            self.admin.reap()
        if not self._foreign_children:
            while (pid := _ended_child()) and pid not in (self.generations.loader_pid, self.upgrade.pid):
                # A worker may have ended since the lines above: its exit must not be lost.
                self.workforce.reap_adopted()
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
        self.office.poke()

    # --- start and losses ------------------------------------------------------------------------------------

    def _check_ready(self) -> None:
        office = self.office
        wanted = office.target.workers
        if self._succession is not None and office.target.hold:
            ready = {worker.slot for worker in office.fleet.workers.values() if worker.state is WorkerState.READY}
            awaited = self.admin is not None and self.admin.awaited(monotonic())
            if len(ready) >= wanted and not awaited and not office.target.stopping:
                self._succession.ready()
            return
        if len({worker.slot for worker in office.fleet.serving() if worker.slot < wanted}) < wanted:
            return
        if any(worker.slot >= wanted and worker.alive for worker in office.fleet.workers.values()):
            return
        if not office.was_ready:
            office.was_ready = True
            office.dirty = True
            self._announce(self)
            if self._succession is not None:
                self._succession.accepting()
        waiters, self._ready_waiters = self._ready_waiters, []
        office.answers += [partial(waiter, None) for waiter in waiters]

    def when_ready(self, call: Callable[[AerosError | None], None]) -> None:
        """Call back once all workers are ready, with None, or with why they never will be."""
        self._ready_waiters.append(call)
        self._owner_asks_until = 0.0
        self.office.poke()

    def when_settled(self, call: Callable[[], None]) -> None:
        """Call back once this supervisor is the server, and not still to succeed another."""
        if self._settled:
            call()
        else:
            self._settle_waiters.append(call)

    def when_stopped(self, call: Callable[[ExitCode], None]) -> None:
        """Call back with the exit code as the last thing before the end."""
        self._stop_waiters.append(call)

    def _on_loss(self, worker: Worker, what: str) -> None:
        """A worker ended that nobody had told to."""
        office = self.office
        traceback = "" if worker.logged else worker.traceback
        if office.target.stopping or worker.generation not in (office.target.committed, office.target.candidate):
            office.log.info(what)
        elif worker.generation == office.target.candidate:
            self.generations.fail(what, worker.traceback, logged=worker.logged)
        elif not office.was_ready and not worker.ready_at:
            self._fail_start(what, worker.traceback, logged=worker.logged)
        elif worker.refused and worker.slot < office.target.workers:
            self.workforce.slot_refused(office.fleet.slots[worker.slot], what)
        elif worker.slot < office.target.workers:
            self.workforce.slot_failed(office.fleet.slots[worker.slot], what, traceback, worker.loss_weight)
        else:
            office.log.warning(what, traceback=traceback)

    def _fail_start(self, reason: str, traceback: str = "", *, logged: bool = False) -> None:
        """The first generation cannot be brought up: say why once, leave nothing running."""
        if self._start_failure is not None:
            return
        self._start_failure = (reason, traceback)
        self.office.log.critical(f"the server cannot start: {reason}", traceback="" if logged else traceback)
        if self._succession is not None:
            self._succession.failed(reason, traceback)
        self.office.first_error(ExitCode.APP)
        self.stop("graceful", "the start failed")
        for worker in list(self.office.fleet.workers.values()):
            if worker.state is WorkerState.STARTING:
                worker.retired = "stop"
                self.workforce.kill(worker, "the start failed", dump=False)

    def _why_never_ready(self) -> AerosError:
        if self._start_failure is not None:
            return AppLoadError(self._start_failure[0], traceback=self._start_failure[1])
        return ServerStopped("the server has stopped")

    # --- upgrade ---------------------------------------------------------------------------------------------

    def admit(self) -> None:
        """The old supervisor has given leave; see `succession.Heir`."""
        # Before the workers accept: who hears that they do may ask us at once.
        self.control.open(self._control_where, succeeding=True)
        self.office.target.hold = False
        self.office.poke()

    def settle(self, accounts: Accounts, record: Upgraded | None, reload: bool) -> None:
        """This supervisor is the server now; see `succession.Heir`."""
        self._notifier.muted = False
        self._inherited = accounts
        self.upgrade.last = record
        self._settled = True
        for waiter in self._settle_waiters:
            waiter()
        self._settle_waiters = []
        if reload:
            self.generations.request(None, None, "asked for during the upgrade")
        self.office.poke()

    def inherit(self, accounts: Accounts) -> None:
        """See `succession.Heir`."""
        self._inherited = accounts
        self.office.poke()

    def _upgrade_failed(self) -> None:
        """The new supervisor was to take over, and did not: it may have put its control socket in the place of ours."""
        if not self.office.target.stopping:
            self.control.resume(self._control_where)

    def _upgraded(self, record: Upgraded) -> bool:
        """The new supervisor is the server: end as at a reload, since whoever is told to go meets a server again."""
        queued = self.generations.reload.queued
        self.control.retire()
        self.office.target.upgraded = True
        self.stop("graceful", f"upgraded to pid {record.pid}")
        return queued

    def _accounts(self, *, living: bool) -> Accounts:
        """Return all that was counted here and before us. living: by workers that have not ended, too."""
        slots = self.office.fleet.slots.values()
        own = Accounts(
            self.workforce.counted(living=living),
            self.workforce.exit_counts,
            self.generations.counts,
            {slot.index: [*self.workforce.requests_of(slot.index, living=living), slot.restarts] for slot in slots},
        )
        return self._inherited.plus(own)

    # --- what systemd and the scoreboard say of us -------------------------------------------------------------

    @property
    def state(self) -> str:
        """starting, ready, reloading, degraded (fewer than N serve), failed (none can), draining (the drain delay
        before a stop) or stopping."""
        office = self.office
        if office.target.stopping:
            return "stopping"
        if office.target.last_call_until:
            return "draining"
        if not office.was_ready:
            return "starting"
        if not self.generations.reload.idle:
            return "reloading"
        slots = [slot for slot in office.fleet.slots.values() if slot.index < office.target.workers]
        serving = {worker.slot for worker in office.fleet.serving()}
        if all(slot.index in serving for slot in slots):
            return "ready"
        return "failed" if not serving and all(slot.state is SlotState.FAILED for slot in slots) else "degraded"

    def _facts(self) -> Facts:
        target, reload = self.office.target, self.generations.reload
        serving = len({worker.slot for worker in self.office.fleet.serving() if worker.slot < target.workers})
        under_way = 0 if reload.idle else reload.generation
        was_ready, last = self.office.was_ready, self.generations.last
        return Facts(self.state, was_ready, serving, target.workers, target.committed, under_way, last)

    def summary(self) -> dict[str, Any]:
        """Return what goes into the scoreboard beside the workers' own figures; see `status`."""
        office = self.office
        offset = wall_time() - monotonic()
        last, upgrade = self.generations.last, self.upgrade.last
        accounts = self._accounts(living=False)
        return {
            "pid": os.getpid(),
            "generation": office.target.committed,
            "state": self.state,
            "target_workers": office.target.workers,
            "addresses": self.addresses,
            "control": self.control.path,
            "admin": self.admin.address if self.admin is not None else "",
            "load": self.generations.load.how,
            "threads": self.generations.load.threads,
            "started_at": self._started_at,
            "last_reload": last.to_message() if last else None,
            "last_upgrade": as_dict(upgrade) if upgrade else None,
            "reloads": accounts.reloads,
            "exits": accounts.exits,
            "totals": accounts.totals.to_message(),
            "slots": [
                {
                    "slot": slot.index,
                    "state": slot.state.value,
                    "restarts": accounts.slots[slot.index][2],
                    "requests": accounts.slots[slot.index][:2],
                    "retry_at": slot.retry_at + offset if slot.retry_at else None,
                    "last_exit": self.workforce.last_exits.get(slot.index),
                }
                for slot in office.fleet.slots.values()
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
                for worker in office.fleet.workers.values()
                if worker.pid
            ],
        }


def _ended_child() -> int:
    """Return the pid of a child that has ended and is not yet reaped, 0 if there is none."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return 0
    return found.si_pid if found is not None else 0
