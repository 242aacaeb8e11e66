"""Accepting connections from listeners that all workers share."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ...core.net.accept_queue import accept_queue
from .fairness import Turn
from .tls_handshake import Failures, Handshake, peer_of, show_peer

if TYPE_CHECKING:
    from .proxy_protocol import ProxyHeaders

#: A worker whose turn it is not looks again after this long.
_STEP_BACK_S = 0.001
#: The most connections to take in one turn of the loop: what is under way must go on too.
_AT_ONCE = 32
#: When descriptors run out so many idle connections are closed: each time there is none left costs a turn.
_MADE = 4
#: When descriptors or memory run out, accepting pauses this long instead of spinning.
_PAUSE_S = 0.25
#: A worker that holds as many connections as it may looks again after this long.
_FULL_S = 0.01
#: What stops accepting for a moment is logged once in this time, however often it happens.
_WARN_EVERY_S = 60.0
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Accepted(socket.socket):
    """A connection that tells its family and type as plain numbers.

    The loops ask for both several times, and the enums that socket.socket makes of them each time cost more than the
    system calls of accepting.
    """

    __slots__ = ()

    family = socket.SocketType.family  # type: ignore[assignment]
    type = socket.SocketType.type  # type: ignore[assignment]


class Acceptor:
    """Takes this worker's share of the connections that wait, and hands each to a protocol made by `factory`.

    The event loops' own servers accept up to `backlog` connections in one go, which gives a burst to whichever worker
    wakes first. They would also call listen() again and so change the shared backlog.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listeners: Sequence[tuple[socket.socket, bool]],
        factory: Callable[[], asyncio.Protocol],
        turn: Turn | None,
        pending: Callable[[int], None],
        *,
        handshake_timeout_s: float,
        on_pause: Callable[[str], None],
        context: ssl.SSLContext | None = None,
        failures: Failures | None = None,
        proxy_headers: ProxyHeaders | None = None,
        has_room: Callable[[], bool] | None = None,
        make_room: Callable[[int], int] | None = None,
    ) -> None:
        """listeners: each with whether it speaks TLS; `context` may be changed at any time, for connections to come.
        turn: asked how many to accept; None: all that wait. pending: told of connections that are being set up.
        on_pause: told why accepting stops for a moment. failures: told of TLS handshakes that fail.
        proxy_headers: read before anything else where it expects one.
        has_room: whether one connection more may be held; None: always.
        make_room: closes up to so many idle connections, and says how many, where descriptors have run out."""
        self._loop = loop
        self.context = context
        self._listeners = list(listeners)
        self._kinds = {sock: (int(sock.family), int(sock.type), sock.proto) for sock, _ in listeners}
        # How many wait at these is only found out by accepting them.
        self._blind = {sock for sock, _ in listeners if accept_queue(sock) is None}
        self._factory = factory
        self._turn = turn
        self._pending = pending
        self._handshake_timeout_s = handshake_timeout_s
        self._on_pause = on_pause
        self._failures = failures
        self._proxy_headers = proxy_headers
        self._settling: set[asyncio.Future[None]] = set()
        self._open = False
        self._paused = False
        self._has_room = has_room
        self._make_room = make_room
        self._warned_at = -_WARN_EVERY_S

    def start(self) -> None:
        """Begin to accept."""
        self._open = True
        self._watch()

    def stop(self) -> None:
        """Accept no more. The sockets stay open: they are shared."""
        self._open = False
        for sock, _ in self._listeners:
            self._loop.remove_reader(sock.fileno())

    def take_backlog(self) -> None:
        """Accept everything the kernel has queued already: for a stop, before the listener goes."""
        for sock, secure in self._listeners:
            while (connection := self._accept(sock)) is not None:
                self._adopt(connection, secure)

    async def settled(self) -> None:
        """Return when every accepted connection is set up: until then the lane does not know of it.

        A handshake may take its time; bound the wait with the drain's deadline.
        """
        while self._settling:
            await asyncio.wait(set(self._settling))

    def _watch(self) -> None:
        for sock, secure in self._listeners:
            self._loop.add_reader(sock.fileno(), self._on_readable, sock, secure)

    def _on_readable(self, sock: socket.socket, secure: bool) -> None:
        if self._has_room is not None and not self._has_room():
            # What waits in the backlog is for the other workers, or for whoever leaves here.
            self._loop.remove_reader(sock.fileno())
            self._loop.call_later(_FULL_S, self._look_again, sock, secure)
            return
        allowed = self._allowance(sock)
        if not allowed:
            # Still readable, so watching it would spin until somebody takes the connection.
            self._loop.remove_reader(sock.fileno())
            self._loop.call_later(_STEP_BACK_S, self._look_again, sock, secure)
            return
        for _ in range(_AT_ONCE):
            if not allowed and sock in self._blind:
                allowed = self._allowance(sock)
            if not allowed or (connection := self._accept(sock)) is None:
                return
            self._adopt(connection, secure)
            allowed -= 1
            if self._has_room is not None and not self._has_room():
                return

    def _allowance(self, sock: socket.socket) -> int:
        def queue() -> int:
            length, _ = (0, 0) if sock in self._blind else accept_queue(sock) or (0, 0)
            return length or 1  # the loop says that there is one

        return queue() if self._turn is None else self._turn.allowance(queue)

    def _look_again(self, sock: socket.socket, secure: bool) -> None:
        if self._open and not self._paused:
            self._loop.add_reader(sock.fileno(), self._on_readable, sock, secure)

    def _accept(self, sock: socket.socket) -> socket.socket | None:
        try:
            descriptor, _ = sock._accept()  # type: ignore[attr-defined]
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return None  # another worker was quicker, or the client has left
        except OSError as error:
            if error.errno == errno.EINVAL:  # another worker, draining, has ended the listener for all
                self._loop.remove_reader(sock.fileno())
                return None
            if error.errno not in _EXHAUSTED:
                raise
            self._pause(error)
            return None
        # Whoever makes the transport sets it non-blocking.
        return Accepted(*self._kinds[sock], descriptor)

    def _pause(self, error: OSError) -> None:
        if not self._open or self._paused:
            return
        self._paused = True
        made = self._make_room(_MADE) if self._make_room is not None else 0
        now = self._loop.time()
        if now - self._warned_at >= _WARN_EVERY_S:
            self._warned_at = now
            room = "; those that are idle for longest are closed for new ones" if made else ""
            self._on_pause(f"cannot accept connections for the moment: {error.strerror}{room}")
        for sock, _ in self._listeners:
            self._loop.remove_reader(sock.fileno())
        # What is closed is so at the end of this turn.
        self._loop.call_later(_STEP_BACK_S if made else _PAUSE_S, self._resume)

    def _resume(self) -> None:
        self._paused = False
        if self._open:
            self._watch()

    def _adopt(self, connection: socket.socket, secure: bool) -> None:
        self._pending(1)
        if not secure and self._proxy_headers is None:
            self._connect_plainly(connection)
            return
        task = self._loop.create_task(self._connect(connection, self.context if secure else None))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    def _connect_plainly(self, connection: socket.socket) -> None:
        """Connect where that waits for one thing only, that the loop has called `connection_made`: without a task."""
        # Right before `connection_made`, which counts it: never does it count twice for others who look.
        self._loop.call_soon(self._pending, -1)
        steps = self._loop.connect_accepted_socket(self._factory, connection)
        try:
            made = steps.send(None)
        except OSError:
            connection.close()
            return

        def finish(made: asyncio.Future[None]) -> None:
            self._settling.discard(made)
            try:
                steps.send(None)
            except StopIteration:
                pass
            except OSError:
                connection.close()

        self._settling.add(made)
        made.add_done_callback(finish)

    async def _connect(self, connection: socket.socket, context: ssl.SSLContext | None) -> None:
        factory = self._factory
        handshake, peer = None, ""
        try:
            if self._proxy_headers is not None and self._proxy_headers.expected(connection):
                factory, peer = await self._announced(self._proxy_headers, connection)
            if context is not None:
                handshake, peer = Handshake(connection), peer or peer_of(connection)
            await self._loop.connect_accepted_socket(
                factory,
                connection,
                ssl=context,
                ssl_handshake_timeout=self._handshake_timeout_s if context is not None else None,
            )
        except (TimeoutError, OSError, ssl.SSLError) as error:
            connection.close()
            # asyncio's frames hold the error that holds them, and with it all that the handshake had: some 75 KB.
            error.__traceback__ = None
            if handshake is not None:
                await self._failed(handshake, peer, error)
        finally:
            self._pending(-1)

    async def _failed(self, handshake: Handshake, peer: str, error: Exception) -> None:
        """Count and say that a client's handshake failed, and give it the time to read why."""
        if self._failures is not None and handshake.begun:
            self._failures.add(peer, handshake.why(error, self._handshake_timeout_s))
        await handshake.linger(self._loop)

    async def _announced(
        self, headers: ProxyHeaders, connection: socket.socket
    ) -> tuple[Callable[[], asyncio.Protocol], str]:
        """Return a factory for a protocol that knows whom a balancer speaks for, and who that is."""
        connection.setblocking(False)
        announced = await headers.read(connection)
        protocol: Any = self._factory()
        protocol.announced = announced
        return lambda: protocol, "" if announced is None else show_peer(announced.client)
