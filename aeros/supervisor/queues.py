"""How many connections wait in the kernel for a worker to accept them."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Sequence

from ..core.listener import Listener
from ..core.scoreboard import Scoreboard

# struct tcp_info of Linux: eight single bytes, then 32-bit numbers. Of a listening socket the fields tcpi_unacked and
# tcpi_sacked hold the length of its accept queue and the most it may have (net/ipv4/tcp.c, tcp_get_info).
_LENGTH_AND_LIMIT = struct.Struct("=24xII")


def accept_queue(sock: socket.socket) -> tuple[int, int] | None:
    """Return how many connections wait at a listening TCP socket, and how many may; None where nothing tells."""
    if sys.platform != "linux" or sock.family == socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
        return None
    try:
        length, limit = _LENGTH_AND_LIMIT.unpack(
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LENGTH_AND_LIMIT.size)
        )
    except OSError:  # closed: the server is stopping
        return None
    return length, limit


def publish_queues(listeners: Sequence[Listener], scoreboard: Scoreboard) -> None:
    """Write into the scoreboard how many wait at each listener. A microsecond each."""
    for index, listener in enumerate(listeners):
        length, limit = accept_queue(listener.sock) or (None, 0)
        scoreboard.write_queue(index, length, limit)
