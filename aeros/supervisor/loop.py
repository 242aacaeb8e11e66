"""The supervisor's loop: wait, take events, decide, act.

It runs no user code, serves no request, never forks (zygotes do) and never waits for anything without a
deadline. Everything that happens only changes the fleet or its target; `reconcile` says what follows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ..core.exitcodes import ExitCode
from ..core.ipc.channel import Channel
from ..core.net.certificates import CertificateError
from ..core.shared.scoreboard import heartbeat_every_s
from .commands import CommandHandler
from .control.dashboard import AdminChild
from .control.socket import ControlLine
from .control.systemd import Notifier
from .losses import Losses
from .model.fleet import Worker
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
from .readiness import Readiness
from .reaping import Reaper
from .reporter import Reporter
from .signals import Signals
from .sockets.listeners import close_all
from .sockets.queues import publish_queues
from .state.office import Office
from .takeover import Takeover
from .upgrade.inheritance import Estate
from .upgrade.running import Upgrade
from .upgrade.successor import Succession
from .verbs import Verbs
from .workers.workforce import Workforce
from .zygotes.generations import Generations
from .zygotes.links import ZygoteLink
from .zygotes.load import Load
from .zygotes.order import Order
from .zygotes.reloading import PILOT_S

#: How often heartbeats and limits are looked at when nothing else happens.
_TICK_S = 1.0
#: After a system call of the supervisor's own was refused.
_REFUSED_S = 1.0
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
        self.control: ControlLine
        self._zygote, self._pilot = zygote, pilot
        self._control_where, self._admin, self._succession = control, admin, succession
        notifier = notifier if notifier is not None else Notifier("", 0.0, {}, office.log)
        self._notifier = notifier
        self.readiness = Readiness(office, lambda: announce(self), self._dashboard_awaited, succession)
        self.generations = Generations(office, zygote, load, self._founder_lost)
        self.workforce = Workforce(
            office,
            self.generations.sources.source_of,
            self.generations.zygotes.end_stuck,
            self._worker_lost,
            self.generations.reloading.files_changed,
        )
        self._takeover = Takeover(office, self.workforce, self.generations, notifier, self.readiness, control)
        self._upgrade = Upgrade(
            office,
            estate if estate is not None else Estate(),
            admin,
            notifier,
            lambda: self._takeover.accounts(living=True),
            self._takeover.upgrade_failed,
            self._takeover.upgraded,
        )
        self.verbs = Verbs(office, self.workforce, self.generations, self._upgrade)
        self._losses = Losses(office, self.workforce, self.generations, self.verbs, self.readiness, succession)
        self._reaper = Reaper(office, self.workforce, self.generations, self._upgrade, admin)
        self.on_signal = Signals(office, self.verbs, notifier, self._reaper.reap).on_signal
        self.reporter = Reporter(
            office, self.workforce, self.generations, self._upgrade, self._takeover, notifier, admin
        )
        self.addresses = self.reporter.addresses

    async def run(self, owner: Channel | None = None, foreign_children: Sequence[int] = ()) -> ExitCode:
        """Serve until stopped. owner: the handle's channel, whose end stops the server. foreign_children: pids
        that are not ours to reap."""
        office = self.office
        office.open()
        self._reaper.foreign = bool(foreign_children)
        self._open_lines(owner)
        self.generations.open(self.workforce.reports, self.workforce.telling, self.workforce.slots)
        try:
            office.take_certificates(office.target.committed, office.policy)
        except CertificateError as error:
            self._losses.start(str(error))
        if self._admin is not None:
            self._admin.open(office, self.control.adopt)
        office.fleet.set_slots(office.target)
        if self._pilot is not None and self._zygote is not None:
            self.workforce.orders.adopt(self._pilot, self._zygote)
        office.target.pilot_until = self.office.system.monotonic() + PILOT_S
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

    def _open_lines(self, owner: Channel | None) -> None:
        """Be there for those that ask or tell: control clients, the owner, the supervisor before this one."""
        office = self.office
        handler = CommandHandler(office, self.verbs, self.readiness, self._upgrade, self._admin)
        self.control = ControlLine(handler, office.scoreboard.read_only_fds, office.log, office.system)
        self._takeover.open(self.control, self.verbs, self._upgrade)
        self.reporter.open(self.control)
        if self._succession is None:
            self.control.open(self._control_where)
        else:
            self._succession.open(self._takeover)
        if owner is not None:
            self.readiness.expect_owner()
            self.control.adopt(owner, self._owner_is_gone)

    async def _sleep(self) -> None:
        office, now = self.office, self.office.system.monotonic()
        tick_s = min(_TICK_S, heartbeat_every_s(office.policy.loop_warn_s)) if office.policy.loop_warn_s else _TICK_S
        wake_at = now + (tick_s if office.fleet.workers else _IDLE_TICK_S)
        next_at = next_wake(office.fleet, office.target, office.policy, now)
        wakes = (next_at, self.generations.deadline, self._upgrade.deadline, office.target.last_call_until)
        for at in (*wakes, self._notifier.wake_at, self._dashboard_retires_until(), self.readiness.owner_asks_until):
            if at and at > now:
                wake_at = min(wake_at, at)
        # A millisecond more, or a timer that fires a hair early makes an extra round.
        timer = office.loop.call_later(wake_at - now + 0.001, office.bell.set)
        await office.bell.wait()
        timer.cancel()

    def _pass(self) -> None:
        """Bring everything up to date: the one place where decisions become deeds."""
        office, now = self.office, self.office.system.monotonic()
        if office.target.last_call_until and now >= office.target.last_call_until:
            self.verbs.stop("graceful", "the drain delay is over")
        self.workforce.watch.tick(now)
        publish_queues(office.listeners, office.scoreboard)
        self.workforce.ends.find_unreported(now)
        self.workforce.telling.renew_certificates(now)
        for kill in overdue(office.fleet, office.policy, now):
            self._perform(kill)
        # A deed can make the next one possible at once; a few rounds always suffice, and bound a mistake.
        for _ in range(8):
            office.target.forkable = self.generations.sources.forkable
            office.target.self_loading = self.generations.sources.self_loading
            actions = reconcile(office.fleet, office.target, self.office.system.monotonic())
            for action in actions:
                if not self._perform(action):
                    break  # and with it perhaps a reload: the rest was decided before that
            if not actions:
                break
        self.workforce.telling.steer()
        self.generations.reloading.advance()
        self.generations.zygotes.check(now)
        self._upgrade.check(now)
        if self._succession is not None:
            self._succession.check(now)
        self.readiness.check()
        self.reporter.tell(now)
        office.log.flush()

    def _perform(self, action: Action) -> bool:
        """Do it; False when that failed, so that what was decided with it may hold no longer."""
        office = self.office
        office.dirty = True
        match action:
            case Spawn():
                return self.workforce.orders.spawn(action.slot, action.generation)
            case Admit():
                self.workforce.telling.admit(office.fleet.workers[action.worker])
            case RetireWorker():
                self.workforce.telling.retire(office.fleet.workers[action.worker], action.reason)
            case KillWorker():
                self.workforce.telling.kill(office.fleet.workers[action.worker], action.reason, dump=action.dump)
            case ChangeOver():
                assert office.target.candidate is not None
                office.fleet.slots[action.slot].generation = office.target.candidate
            case DropSlot():
                del office.fleet.slots[action.slot]
        return True

    def _finished(self) -> bool:
        over = not self.office.fleet.workers and self.generations.gone and self._upgrade.gone
        if self.office.target.stopping != "now" and self._dashboard_retires_until():
            over = False
        if self.readiness.failed and self.office.system.monotonic() < self.readiness.owner_asks_until:
            over = False
        return bool(self.office.target.stopping) and over

    def _close(self) -> None:
        self._upgrade.conclude()
        self.readiness.conclude()
        self.office.dirty = True
        self.office.publish(self.reporter.summary)
        self._upgrade.close()
        self.workforce.close()
        if self._succession is not None:
            self._succession.close()
        if self._admin is not None:
            self._admin.close()
        self.office.recent.release()
        self.control.close()
        self.reporter.close()
        close_all(self.office.listeners)

    def _owner_is_gone(self) -> None:
        self.readiness.owner_asks_until = 0.0
        self.verbs.stop("graceful", "the program that started the server has ended, or let go of it")

    def _founder_lost(self, why: str) -> None:
        self._losses.start(why)

    def _worker_lost(self, worker: Worker, what: str) -> None:
        self._losses.worker(worker, what)

    def _dashboard_awaited(self) -> bool:
        return self._admin is not None and self._admin.awaited(self.office.system.monotonic())

    def _dashboard_retires_until(self) -> float:
        return self._admin.retiring(self.office.system.monotonic()) if self._admin is not None else 0.0
