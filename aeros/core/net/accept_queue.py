"""How many connections wait in the kernel for somebody to accept them."""

from __future__ import annotations

import socket
import struct
import sys

# struct tcp_info of Linux: eight single bytes, then 32-bit numbers. Of a listening socket the fields tcpi_unacked and
# tcpi_sacked hold the length of its accept queue and the most it may have (net/ipv4/tcp.c, tcp_get_info).
_LENGTH_AND_LIMIT = struct.Struct("=24xII")


def accept_queue(sock: socket.socket) -> tuple[int, int] | None:
    """Return how many connections wait at a listening TCP socket, and how many may; None where nothing tells.

    Costs a microsecond, where it tells.
    """
    if sys.platform != "linux":
        return None
    try:
        length, limit = _LENGTH_AND_LIMIT.unpack(
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LENGTH_AND_LIMIT.size)
        )
    except OSError:  # not TCP; or closed: the server is stopping
        return None
    return length, limit
