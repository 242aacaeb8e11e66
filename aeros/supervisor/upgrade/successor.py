"""The upgrade as the new supervisor goes it: it inherits, gets its fleet ready, takes over when told, and settles in.

Until it has settled, all that it inherited is still the old one's: it removes none of it, and says nothing to systemd.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from typing import Any, Protocol

from ...core.clock import show_duration
from ...core.ipc import facts as reading
from ...core.ipc.channel import Channel, ChannelClosed, close_fds
from ...core.ipc.messages import (
    Abandon,
    Legacy,
    Message,
    Prepared,
    ProtocolError,
    Settled,
    TakeOver,
    TookOver,
    Unfit,
    clip,
)
from ...core.process.signalling import die_with_parent
from ...status.records import Upgraded
from ...version import __version__
from ..model.lifecycle import HEIR_EDGES, HeirState, advance
from ..model.totals import Accounts
from ..state.office import Office
from .inheritance import Inheritance

#: How long leave to take over may take: the old supervisor gives it as soon as it has heard that we are ready.
_LEAVE_S = 30.0
#: The latest time that is believed, in seconds since the epoch: the year 5138.
_LATEST_S = 1e11


class Heir(Protocol):
    """The new supervisor, as this module needs it."""

    office: Office

    def admit(self) -> None:
        """Have the workers accept."""

    def settle(self, accounts: Accounts, record: Upgraded | None, reload: bool) -> None:
        """Be the server. accounts: what the old one has counted. reload: one was asked for meanwhile."""

    def inherit(self, accounts: Accounts) -> None:
        """Take over what the old one has counted."""

    def stop(self, how: str, why: str) -> None: ...


class Succession:
    """The line to the old supervisor. Made before the first fork; used inside the loop."""

    def __init__(
        self, channel: Channel, inheritance: Inheritance, on_settled: Callable[[], None], *, same_pid_file: bool
    ) -> None:
        """on_settled: called when this supervisor is the server. same_pid_file: the old one's is ours as well."""
        self.channel = channel
        self.inheritance = inheritance
        self._on_settled = on_settled
        self._heir: Heir
        self.state = HeirState.PREPARING
        self._same_pid_file = same_pid_file
        self._uncounted = False
        self._leave_by = 0.0

    def open(self, heir: Heir) -> None:
        """Called first thing inside the loop."""
        self._heir = heir
        self.channel.setblocking(False)
        heir.office.loop.add_reader(self.channel.fileno(), self._on_readable)

    def ready(self) -> None:
        """Every worker is ready."""
        if self.state is HeirState.PREPARING:
            self._on("ready")
            self._leave_by = self._heir.office.system.monotonic() + _LEAVE_S
            self._tell(Prepared({}))

    def check(self, now: float) -> None:
        """Give up where the old supervisor has fallen silent: it goes on, or its watchdog ends it."""
        if self.state is HeirState.PREPARED and now >= self._leave_by:
            self._abandon(f"the supervisor to be succeeded has not answered for {show_duration(_LEAVE_S)}")

    def accepting(self) -> None:
        """Every worker accepts."""
        if self.state is HeirState.ADMITTING:
            self._on("admitted")
            kept, admin = self.inheritance.kept, self.inheritance.admin_kept is not None
            bound = len(self._heir.office.listeners) - len(kept)
            self._tell(TookOver({"kept": kept, "bound": bound, "admin": admin, "pid_file": self._same_pid_file}))

    def failed(self, reason: str, traceback: str) -> None:
        """It will come to nothing: tell the old one why."""
        self._tell(Unfit({"reason": clip(reason, 2000), "traceback": clip(traceback), "logged": True}))

    def close(self) -> None:
        self._heir.office.forget(self.channel)

    def _on_readable(self) -> None:
        office = self._heir.office
        try:
            received = self.channel.receive()
            close_fds(received)  # it has none to send by now
            for message, _ in received:
                self._hear(message)
        except ChannelClosed:
            office.forget(self.channel)
            self._left_alone()
        except ProtocolError as error:
            office.log.error(f"the supervisor before this one is not understood: {error}")
            office.forget(self.channel)
            self._left_alone()
        office.poke()

    def _hear(self, message: Message) -> None:
        match message:
            case TakeOver() if self.state is HeirState.PREPARED:
                self._on("take_over")
                # It may end now before we know that we have taken over; somebody has to serve then.
                die_with_parent(0)
                self._heir.admit()
            case Settled() if self.state is HeirState.ACCEPTING:
                self._settle(
                    self._accounts(message.facts), self._record(message.facts), message.facts.get("reload") is True
                )
            case Legacy() if self.state is HeirState.SETTLED:
                self._heir.inherit(self._accounts(message.facts))
            case Abandon() if self.state not in (HeirState.SETTLED, HeirState.ABANDONED):
                why = reading.line(message.facts, "why")
                self._abandon("the upgrade is off" + (f": {why}" if why else ""))
            case _:
                raise ProtocolError(f"it sent a {type(message).__name__} to a supervisor that was {self.state.value}")

    def _record(self, facts: dict[str, Any]) -> Upgraded | None:
        """Return how this upgrade went, as the old supervisor has measured it."""
        told = facts.get("record")
        if not isinstance(told, dict):
            return None
        seconds, at = (reading.number(told, name, 0.0, most=_LATEST_S) for name in ("seconds", "at"))
        return Upgraded(True, os.getpid(), self.inheritance.pid, seconds, at, __version__, platform.python_version())

    def _accounts(self, facts: dict[str, Any]) -> Accounts:
        try:
            return Accounts.from_message(facts.get("legacy"))
        except ValueError as error:
            if not self._uncounted:
                self._uncounted = True
                self._heir.office.log.info(f"what the supervisor before this one counted is not taken over: {error}")
            return Accounts()

    def _settle(self, accounts: Accounts, record: Upgraded | None, reload: bool) -> None:
        self._on("settle")
        self.inheritance.own()
        self._on_settled()
        self._heir.settle(accounts, record, reload)

    def _abandon(self, why: str) -> None:
        # Workers that may have accepted something get their time.
        how = "graceful" if self.state in (HeirState.ADMITTING, HeirState.ACCEPTING) else "now"
        self._on("abandon")
        self._heir.stop(how, why)

    def _left_alone(self) -> None:
        """The old supervisor has ended, as it should, or before its time."""
        match self.state:
            case HeirState.PREPARING | HeirState.PREPARED:
                self._abandon("the supervisor that was to be succeeded is gone")
            case HeirState.ADMITTING | HeirState.ACCEPTING:
                self._heir.office.log.warning(
                    f"the supervisor before this one (pid {self.inheritance.pid}) died while it handed over"
                )
                self._settle(Accounts(), None, reload=False)
            case HeirState.SETTLED:
                self._heir.office.datagrams.others.clear()
                self._heir.office.log.info(f"the supervisor before this one (pid {self.inheritance.pid}) has ended")

    def _tell(self, message: Message) -> None:
        if self.channel.fileno() != -1:
            self._heir.office.tell(self.channel, message)

    def _on(self, event: str) -> None:
        self.state = advance(HEIR_EDGES, self.state, event)
