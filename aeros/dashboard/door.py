"""How many connections the dashboard takes, and how long it waits for those that are slow."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from ..worker.http1.connection import HTTP1Connection
from ..worker.lane.limits import Limits
from ..worker.lane.service import Service
from .commands import MAX_BODY_BYTES

#: Connections at a time, and those of them that come from one address.
MOST, MOST_OF_ONE = 256, 64
#: Whoever sends or takes less than 4 KiB a second is dropped after 5 s, in the middle of a head as well.
LIMITS = Limits(header_timeout_s=5.0, write_timeout_s=5.0, min_data_rate=4 << 10, body_bytes=MAX_BODY_BYTES)
#: What the kernel may hold of what a client has not taken; it doubles the number.
_KERNEL_BYTES = 16 << 10


class DoorConnection(HTTP1Connection):
    """A connection whose response is only over when the kernel has all of it, which is how slow readers show."""

    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BYTES)
        super().connection_made(transport)
        if self.client is not None and self._of_this_address() > MOST_OF_ONE:
            self.abort()

    def _of_this_address(self) -> int:
        assert self.client is not None
        clients = [getattr(connection, "client", None) for connection in self.service.connections.open]
        return sum(client is not None and client[0] == self.client[0] for client in clients)


def door(service: Service) -> tuple[Callable[[], HTTP1Connection], Callable[[], bool]]:
    """Return the factory of the connections, and what tells whether there is room for one more."""
    return lambda: DoorConnection(service), lambda: len(service.connections.open) < MOST
