"""The UDP sockets of HTTP/3: one for each worker at each address, and which of them get new connections."""

from __future__ import annotations

import contextlib
import itertools
import socket
from collections.abc import Iterable, Sequence

from ...core.net.listener import Listener
from ...core.net.steering import can_steer, steer


class Datagrams:
    """Held by the supervisor for its whole life, so that no group ever changes its order: the kernel moves the last
    socket of a group into the place of one that is closed.

    Where the kernel does not steer (macOS), or the socket is systemd's, all workers share the one socket of an address.
    """

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = [listener for listener in listeners if listener.kind == "quic"]
        self._steered = [listener for listener in self._listeners if _can_steer(listener)]
        #: By worker.
        self._seats: dict[int, int] = {}
        #: Seats of the workers of the supervisor before this one.
        self.others: set[int] = set()
        self._accepting: list[int] = []

    @property
    def seats(self) -> set[int]:
        """Return those that are taken."""
        return self.others.union(self._seats.values())

    @property
    def sizes(self) -> list[int]:
        """Return how many sockets each address has beside the listener's own."""
        return [len(listener.group) for listener in self._listeners]

    @property
    def further(self) -> list[int]:
        """Return the descriptors of these."""
        return [sock.fileno() for listener in self._listeners for sock in listener.group]

    def take(self, worker: int) -> tuple[int, list[int]]:
        """Give a worker a seat; return it, and its descriptors: none without HTTP/3. Raises OSError."""
        taken = self.seats
        seat = next(number for number in itertools.count() if number not in taken)
        fds = [self._socket(listener, seat).fileno() for listener in self._listeners]
        self._seats[worker] = seat
        return seat, fds

    def _socket(self, listener: Listener, seat: int) -> socket.socket:
        if listener not in self._steered:
            return listener.sock
        while len(listener.group) < seat:
            listener.group.append(_another(listener.sock))
        return listener.group[seat - 1] if seat else listener.sock

    def leave(self, worker: int) -> None:
        """It has ended. What still comes for its connections is dropped by whoever has the seat next."""
        self._seats.pop(worker, None)

    def steer(self, workers: Iterable[int]) -> None:
        """Have new connections come to these workers. Where there is none, it stays as it was."""
        accepting = sorted(self._seats[worker] for worker in workers if worker in self._seats)
        if not accepting or accepting == self._accepting:
            return
        self._accepting = accepting
        for listener in self._steered:
            with contextlib.suppress(OSError):  # out of memory: it stays as it was
                steer(listener.sock, accepting)

    def forget(self) -> None:
        """Somebody else may have steered: do so again at the next call."""
        self._accepting = []


def _can_steer(listener: Listener) -> bool:
    if not can_steer() or not listener.sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT):
        return False
    if listener.group:
        return True  # of the supervisor before this one, and steered by it
    try:
        steer(listener.sock, [0])
    except OSError:
        return False
    return True


def _another(first: socket.socket) -> socket.socket:
    """Return one more socket at the address of `first`. Raises OSError."""
    sock = socket.socket(first.family, socket.SOCK_DGRAM, socket.IPPROTO_UDP)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if first.family == socket.AF_INET6:
            only = first.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        sock.bind(first.getsockname())
    except OSError:
        sock.close()
        raise
    return sock
