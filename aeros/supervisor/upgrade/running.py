"""The upgrade as the running supervisor goes it: another supervisor is started beside it, and succeeds it when ready.

Until the new one's workers accept, nothing here has changed: whatever goes wrong before costs a line in the log.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Sequence
from functools import partial

from ...core.clock import show_duration, wall_time
from ...core.exitcodes import ExitCode
from ...core.ipc import facts as reading
from ...core.ipc.channel import Channel, ChannelClosed, close_fds
from ...core.ipc.messages import (
    Abandon,
    Heir,
    Inherit,
    Legacy,
    Message,
    Prepared,
    ProtocolError,
    Settled,
    TakeOver,
    TookOver,
    Unfit,
)
from ...core.process.signalling import describe_exit, working_directory
from ...core.record import as_dict, replace
from ...errors import UpgradeFailed
from ...status.records import Upgraded
from ..control.dashboard import AdminChild
from ..control.systemd import Notifier
from ..model.fleet import Worker
from ..model.lifecycle import UPGRADE_EDGES, UpgradeState, advance
from ..model.reconcile import LAST_ACCEPT_S
from ..model.totals import Accounts
from ..state.office import Office
from ..system.summons import UPGRADE_VARIABLE
from ..zygotes.loader import Loader, run_again
from . import bequest
from .inheritance import Estate
from .refusal import why_not

#: From leave to accept until all workers of the new supervisor do.
_TAKE_OVER_S = 10.0
#: Beyond what the new supervisor says that its fleet may take.
_PREPARE_MARGIN_S = 5.0
#: The most that the new supervisor may ask for, where our own boot timeout is not longer still.
_LONGEST_PREPARE_S = 3600.0
#: The most addresses that it may say it has bound anew.
_MOST_BOUND = 10_000
#: For a program that was asked for its stack, and for a supervisor that was told to end.
_LAST_CALL_S = 2.0
#: How often the new supervisor is told what is counted while the old one's workers drain.
_LEGACY_EVERY_S = 1.0

Waiter = Callable[[Upgraded], None]


class Upgrade:
    """At most one is under way. Only code called from the supervisor's loop touches it."""

    def __init__(
        self,
        office: Office,
        estate: Estate,
        admin: AdminChild | None,
        notifier: Notifier,
        accounts: Callable[[], Accounts],
        on_failed: Callable[[], None],
        on_over: Callable[[Upgraded], bool],
    ) -> None:
        """accounts: what has been counted so far. on_failed: the new one is not coming, after it was told to take over.
        on_over: it is the server; returns whether it is to reload, which was asked for meanwhile."""
        self._office = office
        self._log = office.log
        self._estate = estate
        self._admin = admin
        self._notifier = notifier
        self._accounts = accounts
        self._on_failed = on_failed
        self._on_over = on_over
        self._line: Channel | None = None
        self._loader: Loader | None = None
        self._waiters: list[Waiter] = []
        self._started_at = 0.0
        self._limit = 0.0
        self._last_call = False
        self._concluded = False
        self._heir: dict[str, str] = {}
        self._directory = ""
        self._others: Sequence[str] | None = None
        self._next_legacy = 0.0
        self.state = UpgradeState.IDLE
        self.deadline = 0.0
        #: How the last one ended; of one that was refused, why.
        self.last: Upgraded | None = None

    # --- what others need to know ----------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """Return the pid of the new supervisor while it is this class's to reap, else 0."""
        return self._loader.pid if self._loader is not None else 0

    @property
    def gone(self) -> bool:
        """Whether nothing of a new supervisor is left that would have to be waited for."""
        return self.state in (UpgradeState.IDLE, UpgradeState.OVER)

    # --- life ------------------------------------------------------------------------------------------------

    def request(
        self,
        waiter: Waiter | None,
        timeout_s: float | None,
        why: str,
        reloading: bool,
        others: Sequence[str] | None = None,
    ) -> None:
        """Begin. reloading: whether a reload is under way. others: for the program instead of the arguments it was
        started with. Raises UpgradeFailed if that cannot be now, or ever."""
        self._refuse(reloading)
        if others is not None and self._office.command.why_no_others:
            raise UpgradeFailed(f"it cannot be given other arguments: {self._office.command.why_no_others}")
        office, now = self._office, self._office.system.monotonic()
        self._on("request")
        office.upgrading = True
        self._waiters = [waiter] if waiter is not None else []
        self._started_at, self._last_call, self._heir = now, False, {}
        self._limit = now + (timeout_s or float("inf"))
        self.deadline = min(self._limit, now + office.policy.boot_timeout_s)
        self._others = others
        # Not which ones: there may be a token among them.
        how = "" if others is None else ", with other arguments"
        self._log.info(f"upgrade requested: {why}; running the program again as the next supervisor{how}")
        # As whoever this process is: a new supervisor binds and reads keys, and gives root up where this one did.
        command = office.command if others is None else office.command.with_others(others)
        command = replace(command, account=None)
        try:
            self._loader, self._line = run_again(office, 0, command, UPGRADE_VARIABLE, self._notifier.environment)
        except OSError as error:
            self.fail(f"cannot run the program again: {error}")
            return
        office.loop.add_reader(self._line.fileno(), self._on_readable)

    def _refuse(self, reloading: bool) -> None:
        reason = why_not(self._office, reloading=reloading and self.gone)
        if not reason and not self.gone:
            since = show_duration(self._office.system.monotonic() - self._started_at)
            reason = f"an upgrade is under way, asked for {since} ago"
        if reason:
            raise UpgradeFailed(reason)

    def check(self, now: float) -> None:
        """End what takes too long."""
        if self.state is UpgradeState.OVER:
            if self._line is not None and now >= self._next_legacy:
                self._bequeath_accounts(now)
            if not any(_accepts(worker, now) for worker in self._office.fleet.workers.values()):
                self.conclude()
            return
        if not self.deadline or now < self.deadline:
            return
        took = show_duration(now - self._started_at)
        if self.state is UpgradeState.LOADING and not self._last_call and self._loader is not None:
            # First ask where it hangs: the exit that follows ends the upgrade, with the stack as its traceback.
            self._last_call = True
            self.deadline = now + _LAST_CALL_S
            self._log.error(f"the new program has not reached start() after {took}; it is ended, its stack follows")
            self._loader.abort(f"it had not reached start() after {took}")
        elif self.state is UpgradeState.TAKING_OVER:
            self.fail(f"the new workers did not accept {show_duration(_TAKE_OVER_S)} after they were told to")
        elif self.state is UpgradeState.ENDING:
            self.deadline = now + _LAST_CALL_S
            self._signal(signal.SIGKILL)
        else:
            self.fail(f"not ready {took} after the upgrade began")

    def stop(self, how: str) -> None:
        """The server is to end, and so is the one that was to succeed it. how: "graceful" or "now"."""
        self.fail("the server is stopping", stopping=True)
        if how == "now" and self.state is UpgradeState.ENDING:
            self.deadline = self._office.system.monotonic()

    def fail(
        self, reason: str, traceback: str = "", *, logged: bool = False, stopping: bool = False, told: bool = False
    ) -> None:
        """The new supervisor is not coming: have it end, and tell who asked when it has.

        logged: the log has the traceback already. stopping: this server is, so it is no failure. told: by itself.
        """
        if self.state not in (UpgradeState.LOADING, UpgradeState.PREPARING, UpgradeState.TAKING_OVER):
            return
        before, now = self.state, self._office.system.monotonic()
        self._on("fail")
        self.last = replace(self._record(now), ok=False, reason=reason, traceback=traceback)
        if stopping:
            self._log.info(f"upgrade given up: {reason}")
        else:
            facts = {"reason": reason, "traceback": "" if logged else traceback}
            self._log.write("error", f"upgrade refused, pid {os.getpid()} goes on serving: {reason}", facts)
        self.deadline = now + _LAST_CALL_S
        if before is UpgradeState.TAKING_OVER:
            # Its workers may have accepted connections already, which have their time.
            self.deadline = now + self._office.policy.total_timeout_s + _LAST_CALL_S
            self._on_failed()
        if self._loader is None:
            self._gone()
        elif before is UpgradeState.LOADING:
            self._loader.kill()
        elif self._line is not None:
            self._tell(Abandon({} if told else {"why": reason}))
        self._office.poke()

    def reap(self) -> None:
        """Take note of the new supervisor's end, if it has ended and was not the server yet."""
        loader = self._loader
        status = loader.reap() if loader is not None else None
        if loader is None or status is None:
            return
        self._read()  # its last words, which explain it best
        reached = self.state is not UpgradeState.LOADING
        reason, said, logged = loader.explain(status)
        if reached:
            reason = f"the new supervisor pid={loader.pid} ended with {describe_exit(status)} before it took over"
        self._loader = None
        self.fail(reason, said, logged=logged)
        if self.state is UpgradeState.ENDING:
            self._gone()

    def close(self) -> None:
        """The old supervisor ends: say what its workers counted to their end."""
        if self._line is not None:
            if self.state is UpgradeState.OVER:
                self._bequeath_accounts(self._office.system.monotonic())
            self._office.forget(self._line)
            self._line = None

    # --- the new supervisor ----------------------------------------------------------------------------------

    def _on_readable(self) -> None:
        self._read()
        self._office.poke()

    def _read(self) -> None:
        line = self._line
        if line is None or line.fileno() == -1:
            return
        try:
            received = line.receive()
            close_fds(received)  # it has none to send
            for message, _ in received:
                self._hear(message)
        except ChannelClosed:
            self._office.loop.remove_reader(line.fileno())
            if self.state is UpgradeState.OVER:
                self._lost()
            elif self.state in (UpgradeState.PREPARING, UpgradeState.TAKING_OVER):
                # Its exit says more, and is on its way; one that lives on without its channel is ended. A program that
                # still loads says itself, when it reaches start(), that it has closed it.
                self.deadline = min(self.deadline, self._office.system.monotonic() + _LAST_CALL_S)
        except ProtocolError as error:
            self.fail(f"the new supervisor is not understood: {error}")

    def _hear(self, message: Message) -> None:
        match message:
            case Heir() if self.state is UpgradeState.LOADING:
                self._arrived(message)
            case Prepared() if self.state is UpgradeState.PREPARING:
                self._on("prepared")
                self.deadline = min(self._limit, self._office.system.monotonic() + _TAKE_OVER_S)
                self._tell(TakeOver({}))
            case TookOver() if self.state is UpgradeState.TAKING_OVER:
                self._over(message)
            case Unfit():
                facts = message.facts
                reason, traceback = reading.line(facts, "reason"), reading.lines(facts, "traceback")
                self.fail(reason, traceback, logged=facts.get("logged") is True, told=True)
            case _ if self.state is UpgradeState.ENDING:
                pass  # sent before it heard of that
            case _:
                raise ProtocolError(f"it sent a {type(message).__name__} while the upgrade was {self.state.value}")

    def _arrived(self, message: Heir) -> None:
        assert self._line is not None
        if message.pid != self.pid:
            raise ProtocolError(f"it says that it is process {message.pid}; process {self.pid} was started")
        self._on("arrived")
        self._heir = {name: reading.line(message.facts, name, 40) for name in ("aeros", "python")}
        own_s = self._office.policy.boot_timeout_s
        allowed_s = reading.number(message.facts, "prepare_s", own_s, most=max(2 * own_s, _LONGEST_PREPARE_S))
        self._directory = working_directory(self.pid)
        self.deadline = min(self._limit, self._office.system.monotonic() + allowed_s + _PREPARE_MARGIN_S)
        # How it was scaled by hand lasts for as long as nobody says something else.
        asked = self._office.policy.workers if self._others is None else 0
        about = (self._office, self._estate, self._admin)
        fds = bequest.descriptors(*about)
        try:
            self._tell(Inherit(len(fds), bequest.facts(*about, asked)), fds)
        except OSError as error:
            self.fail(f"it could not be given the listeners: {error.strerror}")

    def _over(self, message: TookOver) -> None:
        """The point of no return: its workers accept, and it is the server."""
        office, now = self._office, self._office.system.monotonic()
        try:
            kept = reading.indexes(message.facts, "kept", len(office.listeners))
        except ValueError as error:
            raise ProtocolError(f"it took over, but {error}") from None
        if not kept and not reading.whole(message.facts, "bound", most=_MOST_BOUND):
            self.fail("it took over, but serves at no address")
            return
        self._on("took_over")
        self.deadline = 0.0
        assert self._loader is not None
        # From here on it is no child to be looked after, but an orphan-to-be like any.
        pid, loader, self._loader = self._loader.pid, self._loader, None
        loader.succeeded()
        self.last = record = replace(self._record(now), ok=True, pid=pid)
        for index in kept:
            office.listeners[index].path = ""  # it is the new one's to remove
        if self._estate.pid_file is not None and message.facts.get("pid_file") is True:
            self._estate.pid_file.bequeath(pid)
        if self._admin is not None:
            self._admin.retire(kept=message.facts.get("admin") is True)
        # In this order: systemd listens to the main process alone.
        self._notifier.hand_over(pid)
        self._estate.let_go()
        reload = self._on_over(record)
        self._tell(Settled({"record": as_dict(record), "legacy": self._accounts().to_message(), "reload": reload}))
        self._next_legacy = now + _LEGACY_EVERY_S

    def conclude(self) -> None:
        """No connection made from now on meets the old code: say so, once, if there was an upgrade."""
        if self.state is UpgradeState.OVER and not self._concluded and self.last is not None:
            self._concluded = True
            if self.last.ok:
                took = show_duration(self.last.seconds)
                place = f" from {self._directory}" if self._directory else ""
                self._log.info(
                    f"upgraded: pid {self.last.pid} serves after {took}{place}; this supervisor ends with its last "
                    "connection"
                )
            self._answer()

    def _lost(self) -> None:
        """The new supervisor has closed its line, so it has ended. Before we have let go: then nobody serves."""
        if not self._concluded and self.last is not None:
            reason = f"the new supervisor pid={self.last.pid} ended as soon as it had taken over; nobody serves now"
            self.last = replace(self.last, ok=False, reason=reason)
            self._log.critical(reason)
            self._office.first_error(ExitCode.FAILURE)

    def _gone(self) -> None:
        self._on("gone")
        self._office.upgrading = False
        self.deadline = 0.0
        if self._line is not None:
            self._office.forget(self._line)
            self._line = None
        self._answer()
        self._office.poke()

    def _answer(self) -> None:
        assert self.last is not None
        self._office.answers += [partial(waiter, self.last) for waiter in self._waiters]
        self._waiters = []

    def _record(self, now: float) -> Upgraded:
        seconds = round(now - self._started_at, 3)
        aeros, python = (self._heir.get(name, "") for name in ("aeros", "python"))
        return Upgraded(False, self.pid, os.getpid(), seconds, wall_time(), aeros, python)

    def _bequeath_accounts(self, now: float) -> None:
        self._next_legacy = now + _LEGACY_EVERY_S
        self._tell(Legacy({"legacy": self._accounts().to_message()}))

    def _tell(self, message: Message, fds: list[int] | None = None) -> None:
        if self._line is not None and self._line.fileno() != -1:
            self._office.tell(self._line, message, fds or [])

    def _signal(self, number: int) -> None:
        if self._loader is not None:
            with contextlib.suppress(ProcessLookupError):
                self._office.system.kill(self._loader.pid, number)

    def _on(self, event: str) -> None:
        self.state = advance(UPGRADE_EDGES, self.state, event)


def _accepts(worker: Worker, now: float) -> bool:
    """Whether a worker may still accept. One that was told to end and does not answer is not waited for longer."""
    return worker.admitted and now < worker.retired_at + LAST_ACCEPT_S
