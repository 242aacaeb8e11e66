"""The supervisor's lines to its processes: one channel each, and what is needed to signal exactly that one."""

from __future__ import annotations

import os
import select
from collections import deque
from typing import TYPE_CHECKING

from ...core.clock import monotonic
from ...core.ipc.channel import Bounds, Channel
from ...core.ipc.messages import MAX_MESSAGE_BYTES, Loaded, ProtocolError, Ready
from ...core.process.signalling import send_signal
from ...core.record import field, mutable
from ...core.shared.worker_file import STACKS_AT, read_heartbeat, read_stacks

if TYPE_CHECKING:
    from .nursery import Birth


def has_ended(pid: int, pidfd: int | None) -> bool:
    """Return whether the process has ended, be it reaped or still a zombie that its parent has not looked at."""
    if pidfd is not None:
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        return bool(poller.poll(0))
    import psutil

    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return True


#: What a process may say in a second. What honest ones say is far below; reading more would cost the loop its time.
_MOST_MESSAGES, _MOST_BYTES = 5000, 16 * MAX_MESSAGE_BYTES

#: A zygote sends one descriptor with a message; two are there at once while one of them is only half read.
ZYGOTE_BOUNDS = Bounds(fds=4)


@mutable
class Flood:
    """Counts what a process says, to end one that talks without end."""

    since: float = 0.0
    messages: int = 0
    bytes: int = 0

    def count(self, messages: int, channel: Channel) -> None:
        """Count what was just read. Raises ProtocolError for more than any process has reason to say."""
        now = monotonic()
        if now - self.since >= 1.0:
            self.since, self.messages, self.bytes = now, 0, channel.bytes_read
        self.messages += messages
        if self.messages > _MOST_MESSAGES or channel.bytes_read - self.bytes > _MOST_BYTES:
            raise ProtocolError("it says more in a second than there can be to say")


@mutable
class WorkerLink:
    """What goes with a `fleet.Worker`: its channel, its pidfd once it is known, its file (see core.worker_file)."""

    channel: Channel
    file_fd: int
    #: Its parent, which is to report its end; None: we are.
    zygote: ZygoteLink | None
    #: Its way from its launch to the app, where it was launched.
    birth: Birth | None = None
    pidfd: int | None = None
    #: What its zygote called it, where that had ended before anybody could look. Never signalled.
    said_pid: int = 0
    #: It says that it is ready, and its zygote has not said yet who it is.
    early: Ready | None = None
    #: As far as the stacks in its file were read.
    dumped: int = STACKS_AT
    #: Nothing more is read from it: it has closed its end, or lied. It has ended, or is about to.
    over: bool = False
    said: Flood = field(default_factory=Flood)

    @property
    def closed(self) -> bool:
        return self.channel.fileno() == -1

    def heartbeat(self, now: float) -> float:
        """Return when its loop last turned, 0.0 if never; monotonic seconds."""
        return read_heartbeat(self.file_fd, now)

    def read_dump(self) -> str:
        """Return what it has written of its stacks since the last call, as text; "" if nothing."""
        data = read_stacks(self.file_fd, self.dumped)
        self.dumped += len(data)
        return _trim(data.decode("utf-8", "replace"))

    def close(self) -> None:
        self.channel.close()
        os.close(self.file_fd)
        if self.birth is not None:
            self.birth.close()
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None


def _trim(stacks: str) -> str:
    """Return faulthandler's text without what lies below the event loop: how the worker came to be is no news."""
    kept: list[str] = []
    below = False
    for line in stacks.splitlines():
        if not line.startswith("  File"):
            below = False
        if not below:
            kept.append(line)
        below = below or "/asyncio/runners.py" in line
    return "\n".join(kept)


@mutable
class ZygoteLink:
    """One zygote process. A generation has one that forks, and later a spare that can take its place."""

    generation: int
    channel: Channel
    #: 0: a copy of another zygote, which has not said yet who it is.
    pid: int = 0
    pidfd: int | None = None
    #: The program that is run again has reached start().
    arrived: bool = False
    loaded: bool = False
    #: It says that it is loaded, and the zygote that it is a copy of has not said yet who it is.
    early: Loaded | None = None
    retired: bool = False
    #: When it was first seen to be retired and without a worker; 0.0 while it is not. It ends by itself then.
    done_at: float = 0.0
    #: Made to stand by for a generation that serves already.
    spare: bool = False
    #: Its number may be another process's by now.
    reaped: bool = False
    #: Workers it was told to fork and has not answered for, with the time of the order.
    unanswered: dict[int, float] = field(default_factory=dict)
    #: Where a program that was run again stood when it reached start(), with symlinks resolved; "" if not known.
    directory: str = ""
    #: Copies of it that it was told to make and has not answered for, in the order of the orders.
    copies: deque[ZygoteLink] = field(default_factory=deque)
    said: Flood = field(default_factory=Flood)

    def signal(self, signum: int) -> None:
        """Signal it if it is known who it is, and it is still there."""
        if self.pid and not self.reaped:
            send_signal(self.pid, self.pidfd, signum)

    def close(self) -> None:
        """Let go of its descriptor."""
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None

    @property
    def name(self) -> str:
        """Return the zygote as every log line writes it."""
        return f"zygote gen={self.generation}" + (f" pid={self.pid}" if self.pid else "")
