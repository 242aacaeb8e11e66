"""HTTP/3: Hypercorn's server on the UDP sockets that all workers share, and how it ends.

Hypercorn's own would be served from before the worker is told to, and at the end wait for a datagram that may never
come, reading all the while what is meant for its successor. And it ends with the first exception in its code or in
aioquic's; here that ends the one connection it came from (Guarded), and what ends all the same is served again.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, cast

from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.udp_server import UDPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.utils import parse_socket_addr

from .connection import HandedApp

if TYPE_CHECKING:
    from ..lane.lane import Lane

#: RFC 9114 section 8.1: closed, and nothing is wrong.
_H3_NO_ERROR = 0x100
#: The same for a failure of ours.
_H3_INTERNAL_ERROR = 0x102
_LOOK_EVERY_S = 0.02
_AGAIN_AFTER_S = 0.5


class _Peer:
    """What HandedApp wants to know of the connection of a request. aioquic's own would tell no more than this."""

    tls: dict[str, Any] | None = None
    announced = None

    def __init__(self) -> None:
        self.requests: set[Any] = set()

    async def cut(self, stream_id: int | None) -> None:
        """End a response midway: not possible here, Hypercorn closes the stream when the app returns."""


class _Streams(dict[int, Any]):
    """The streams of a connection. What still comes for one that has been answered is dropped."""

    def __missing__(self, stream_id: int) -> _Streams:
        return self

    async def handle(self, event: object) -> None:
        pass


class _GuardedGroup(TaskGroup):
    """A group whose tasks fail alone."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_failure: Callable[[BaseException], None]) -> None:
        super().__init__(loop)
        self._on_failure = on_failure

    def spawn(self, func: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        super().spawn(self._guarded, func, *args)

    async def _guarded(self, func: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        try:
            await func(*args)
        except Exception as error:
            self._on_failure(error)


class GuardedServer(UDPServer):
    """Hypercorn's server, of which a failure ends at most the connection it came from. on_failure: told of each."""

    def __init__(self, on_failure: Callable[[BaseException], None], *args: Any) -> None:
        super().__init__(*args)
        self._on_failure = on_failure

    async def run(self) -> None:
        from hypercorn.protocol.quic import QuicProtocol  # an optional part of Hypercorn

        on_failure = self._on_failure

        class Guarded(QuicProtocol):
            async def _handle_events(self, connection: Any, client: Any = None) -> None:
                if connection.h3 is not None and type(connection.h3.streams) is dict:
                    connection.h3.streams = _Streams(connection.h3.streams)
                try:
                    await super()._handle_events(connection, client)
                except Exception as error:
                    on_failure(error)
                    connection.quic.close(error_code=_H3_INTERNAL_ERROR)
                    await self.send_all(connection)

        transport = cast(asyncio.DatagramTransport, self.transport)
        sock = transport.get_extra_info("socket")
        address = parse_socket_addr(sock.family, sock.getsockname())
        async with _GuardedGroup(self.loop, on_failure) as group:
            self.protocol = Guarded(
                self.app, self.config, self.context, group, cast(Any, self.state.copy()), address, self.protocol_send
            )
            while True:
                event = await self.protocol_queue.get()
                try:
                    await self.protocol.handle(event)
                except Exception as error:  # a datagram that nobody could read: it belongs to no connection
                    on_failure(error)


class QuicServers:
    """One for each socket. Used on the worker's loop."""

    def __init__(
        self,
        lane: Lane,
        on_failure: Callable[[BaseException], None],
        on_end: Callable[[BaseException], None],
    ) -> None:
        """on_failure: told what ended a connection. on_end: told what ended a server, such as a key nobody can read."""
        self._loop = lane.loop
        self._lane = lane
        self._on_failure = on_failure
        self._on_end = on_end
        self._draining = False
        self._context = WorkerContext(None)  # max_requests is the worker's business
        self._servers: list[UDPServer] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, sockets: Sequence[socket.socket], state: dict[str, Any]) -> None:
        """Serve the sockets, which stay open and the caller's. state: of the lifespan."""
        for sock in sockets:
            self._tasks.append(self._loop.create_task(self._serve(sock, state)))

    async def _serve(self, sock: socket.socket, state: dict[str, Any]) -> None:
        """Serve a socket until cancelled. A server that ends is followed by another."""
        app = cast(Any, HandedApp(self._lane, cast(Any, _Peer())))
        config = self._lane.config
        while not self._draining:
            transport, server = await self._loop.create_datagram_endpoint(
                lambda: GuardedServer(self._on_failure, app, self._loop, config, self._context, state), sock=sock.dup()
            )
            server.transport = transport
            self._servers.append(server)
            try:
                await server.run()
            except Exception as error:
                self._on_end(error)
            self._servers.remove(server)
            transport.close()
            await asyncio.sleep(_AGAIN_AFTER_S)

    async def drain(self, deadline: float) -> None:
        """Take no new connections, finish what was asked, and have clients connect anew. deadline: the loop's time."""
        self._draining = True
        self._context.terminated._event.set()  # type: ignore[attr-defined] # EventWrapper.set() only adds an await
        while self._loop.time() < deadline and any(self._under_way()):  # noqa: ASYNC110 - streams end without telling
            await asyncio.sleep(_LOOK_EVERY_S)
        for server, connection in self._connections():
            connection.quic.close(error_code=_H3_NO_ERROR)
            await server.protocol.send_all(connection)
        for server in self._servers:
            if server.transport is not None:
                server.transport.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connections(self) -> list[tuple[UDPServer, Any]]:
        found = []
        for server in self._servers:
            protocol = getattr(server, "protocol", None)
            if protocol is not None:  # each connection is there by several names
                found += [(server, one) for one in {id(one): one for one in protocol.connections.values()}.values()]
        return found

    def _under_way(self) -> list[bool]:
        return [bool(one.h3 is not None and one.h3.streams) for _, one in self._connections()]
