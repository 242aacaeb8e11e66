"""What an upgrade passes on: as the old supervisor has it, and as the new one gets it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ...core.ipc.facts import whole
from ...core.net.listener import Listener
from ...core.net.steering import SEATS_MOST
from ...core.record import field, mutable
from ...core.shared.scoreboard import MAX_WORKERS

if TYPE_CHECKING:
    from ..control.pidfile import PidFile


@mutable
class Estate:
    """What goes over beside the listeners.

    metrics_directory: the app's own metrics, where this process has to remove them, else "". let_go: called when all
    of it is the new supervisor's.
    """

    pid_file: PidFile | None = None
    metrics_directory: str = ""
    let_go: Callable[[], None] = lambda: None


@mutable
class Inheritance:
    """What the old supervisor passed. Listeners are claimed one by one; the rest is let go of.

    pid: the old supervisor's. path of a listener: not set before it is ours to remove.
    """

    pid: int
    listeners: list[Listener]
    bequests: list[dict[str, Any]]
    admin: Listener | None = None
    admin_bequest: dict[str, Any] = field(default_factory=dict)
    pid_file: str = ""
    pid_file_fd: int = -1
    metrics_directory: str = ""
    workers_asked: int = 0
    workers_now: int = 0
    #: What tickets of TLS sessions are made of, as it was told.
    tickets: object = None
    #: Seats at the UDP sockets that workers of the old one have (core.net.steering).
    seats: frozenset[int] = frozenset()
    kept: list[int] = field(default_factory=list)
    admin_kept: Listener | None = None

    @classmethod
    def from_message(cls, facts: dict[str, Any], fds: Sequence[int]) -> Inheritance:
        """Return what `facts` say of `fds`, which are ours to close. Raises ValueError where they do not fit."""
        try:
            left = list(fds)
            bequests = [dict(record) for record in facts["listeners"]]
            listeners = [Listener.adopt(left.pop(0), record) for record in bequests]
            admin = Listener.adopt(left.pop(0), facts["admin"]) if facts.get("admin") else None
            pid_file = str(facts.get("pid_file") or "")
            workers = facts.get("workers") or {}
            if facts["pid"] != os.getppid():
                raise ValueError(f"the inheritance is of process {facts['pid']}, which is not our parent")
            return cls(
                facts["pid"],
                listeners,
                bequests,
                admin,
                dict(facts.get("admin") or {}),
                pid_file,
                left.pop(0) if pid_file else -1,
                str(facts.get("metrics_directory") or ""),
                whole(workers, "asked", most=MAX_WORKERS),
                whole(workers, "now", most=MAX_WORKERS),
                facts.get("tickets"),
                _with_groups(listeners, left, facts.get("datagrams")),
            )
        except (KeyError, TypeError, IndexError, AttributeError, OSError) as error:
            raise ValueError(f"the inheritance is not understood: {type(error).__name__}: {error}") from None

    @property
    def binds(self) -> tuple[str, ...]:
        """Return the binds of the listeners once each, in order."""
        return tuple(dict.fromkeys(listener.bind for listener in self.listeners))

    def claim(self, bind: str, *, datagrams: bool, name: object = None, every: bool = False) -> list[Listener]:
        """Return the listener of this bind, or with this socket name, that nobody has claimed; [] if there is none.

        every: all of that bind, as with one name for several sockets of systemd's.
        """
        found = []
        for index, listener in enumerate(self.listeners):
            fits = (listener.kind == "quic") == datagrams and index not in self.kept
            if fits and (listener.bind == bind if name is None else listener.sock.getsockname()[:2] == name):
                self.kept.append(index)
                found.append(listener)
                if not every:
                    break
        return found

    def claim_admin(self, bind: str, name: object) -> Listener | None:
        """Return the dashboard's listener if it is that of this bind, or has this socket name."""
        listener = self.admin
        if listener is None or (listener.bind != bind and listener.sock.getsockname()[:2] != name):
            return None
        self.admin, self.admin_kept = None, listener
        return listener

    def let_go(self) -> None:
        """Close what was not claimed: it stays the old supervisor's, and goes with it."""
        for index, listener in enumerate(self.listeners):
            if index not in self.kept:
                listener.close()
        if self.admin is not None:
            self.admin.sock.close()
        if self.pid_file_fd != -1:
            os.close(self.pid_file_fd)

    def own(self) -> None:
        """The listeners are ours: socket files go with us."""
        for index in self.kept:
            self.listeners[index].own(self.bequests[index])
        if self.admin_kept is not None:
            self.admin_kept.own(self.admin_bequest)


def _with_groups(listeners: Sequence[Listener], fds: list[int], told: object) -> frozenset[int]:
    """Give the listeners of UDP the other sockets at their address, and return the seats that are taken.

    fds: what is left, which is closed where the old supervisor does not say what it is.
    """
    quic = [listener for listener in listeners if listener.kind == "quic"]
    sizes, seats = (told.get("sizes"), told.get("seats")) if isinstance(told, dict) else (None, None)
    if not isinstance(sizes, list) or not isinstance(seats, list) or len(sizes) != len(quic) or sum(sizes) != len(fds):
        close_all(fds)
        return frozenset()
    for listener, size in zip(quic, sizes, strict=True):
        listener.group = [socket.socket(fileno=fds.pop(0)) for _ in range(size)]
    return frozenset(seat for seat in seats if isinstance(seat, int) and 0 <= seat < SEATS_MOST)


def close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
