"""An order for a worker: what a zygote is told, and what the supervisor keeps to know the worker by."""

from __future__ import annotations

import os
import secrets
import socket

from ...core.ipc.channel import Bounds, Channel
from ...core.ipc.messages import Fork
from ...core.record import mutable
from ...core.shared.worker_file import make_worker_file
from ..system.system import System

#: A worker speaks of itself in short, and sends no descriptors.
_BOUNDS = Bounds(fds=0)


@mutable(eq=False)
class Order:
    """Made before it is sent. channel, file_fd: see `links.WorkerLink`. at: monotonic seconds."""

    ident: int
    slot: int
    generation: int
    cell: int
    nonce: str
    at: float
    channel: Channel
    file_fd: int
    #: The worker's end of the channel.
    theirs: socket.socket

    @classmethod
    def make(cls, system: System, ident: int, slot: int, generation: int, cell: int) -> Order:
        """Return a new one. Raises OSError when there are no descriptors or memory for it."""
        channel, theirs = system.channel_pair("a worker", _BOUNDS)
        try:
            file_fd = system.memory_file(make_worker_file)
        except OSError:
            channel.close()
            theirs.close()
            raise
        return cls(ident, slot, generation, cell, secrets.token_hex(8), system.monotonic(), channel, file_fd, theirs)

    @property
    def message(self) -> Fork:
        return Fork(self.ident, self.slot, self.generation, self.cell, self.nonce, self.at)

    @property
    def fds(self) -> list[int]:
        """Return the descriptors that go along with the message."""
        return [self.theirs.fileno(), self.file_fd]

    def close(self) -> None:
        """Let go of it, in a process that is not to keep it, or where nothing came of it."""
        self.channel.close()
        self.theirs.close()
        os.close(self.file_fd)


def order_pilot(system: System, zygote: Channel) -> Order | None:
    """Order the first worker of all from a zygote that is yet to be, so that it comes up while this process becomes the
    supervisor. Return None where the system refuses what that takes; the supervisor will meet it as well, and deal with
    it."""
    pilot = None
    try:
        pilot = Order.make(system, ident=1, slot=0, generation=1, cell=0)
        zygote.send(pilot.message, pilot.fds)
    except OSError:
        if pilot is not None:
            pilot.close()
        return None
    return pilot
