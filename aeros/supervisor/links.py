"""The supervisor's lines to its processes: one channel each, and what is needed to signal exactly that one."""

from __future__ import annotations

import os
import select

from ..core.channel import Channel
from ..core.record import field, mutable
from ..core.worker_file import STACKS_AT, read_heartbeat, read_stacks


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


@mutable
class WorkerLink:
    """What goes with a `fleet.Worker`: its channel, its pidfd once it is known, its file (see core.worker_file)."""

    channel: Channel
    file_fd: int
    #: Its parent, which is to report its end.
    zygote: ZygoteLink
    pidfd: int | None = None
    #: As far as the stacks in its file were read.
    dumped: int = STACKS_AT
    #: Its end of the channel is closed: it has ended, or is about to.
    over: bool = False

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
    pid: int = 0
    loaded: bool = False
    retired: bool = False
    #: Made to stand by for a generation that serves already.
    spare: bool = False
    #: Its number may be another process's by now.
    reaped: bool = False
    #: Workers it was told to fork and has not answered for, with the time of the order.
    unanswered: dict[int, float] = field(default_factory=dict)
    #: Where a program that was run again stood when it reached start(), with symlinks resolved; "" if not known.
    directory: str = ""

    @property
    def name(self) -> str:
        """Return the zygote as every log line writes it."""
        return f"zygote gen={self.generation}" + (f" pid={self.pid}" if self.pid else "")
