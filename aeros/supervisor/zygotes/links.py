"""The supervisor's lines to its zygotes: one channel each, and what is needed to signal exactly that one."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Mapping

from ...core.ipc.channel import Bounds, Channel
from ...core.ipc.messages import MAX_MESSAGE_BYTES, Loaded, ProtocolError
from ...core.record import field, mutable
from ..system.system import System

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

    def count(self, messages: int, channel: Channel, now: float) -> None:
        """Count what was read at `now`, in monotonic seconds. Raises ProtocolError for more than any process has reason
        to say."""
        if now - self.since >= 1.0:
            self.since, self.messages, self.bytes = now, 0, channel.bytes_read
        self.messages += messages
        if self.messages > _MOST_MESSAGES or channel.bytes_read - self.bytes > _MOST_BYTES:
            raise ProtocolError("it says more in a second than there can be to say")


@mutable
class ZygoteLink:
    """One zygote process. A generation has one that forks, and later a spare that can take its place."""

    generation: int
    channel: Channel
    #: 0: a copy of another zygote, which has not said yet who it is.
    pid: int = 0
    pidfd: int | None = None
    #: The program has reached start() in a process of its own, and waits, or has waited, for its welcome.
    arrived: bool = False
    #: Variables that it is told with the welcome, having been started without them.
    environment: Mapping[str, str] = field(default_factory=dict)
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

    def signal(self, system: System, signum: int) -> None:
        """Signal it if it is known who it is, and it is still there."""
        if self.pid and not self.reaped:
            system.send_signal(self.pid, self.pidfd, signum)

    def close(self) -> None:
        """Let go of its descriptor."""
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None

    @property
    def name(self) -> str:
        """Return the zygote as every log line writes it."""
        return f"zygote gen={self.generation}" + (f" pid={self.pid}" if self.pid else "")
