"""The supervisor's lines to its workers: a channel, a file and a pidfd each."""

from __future__ import annotations

import os

from ...core.ipc.channel import Channel
from ...core.ipc.messages import Ready
from ...core.record import field, mutable
from ...core.shared.worker_file import STACKS_AT, read_heartbeat, read_stacks
from ..zygotes.links import Flood, ZygoteLink
from ..zygotes.nursery import Birth


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
    #: Its loop stands still, which has been logged: the heartbeat it stopped at.
    stopped_at: float | None = None
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
