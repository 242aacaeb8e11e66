"""HTTP/3: Hypercorn's server on the UDP sockets that all workers share, and how it ends.

Hypercorn's own would be served from before the worker is told to, and at the end wait for a datagram that may never
come, reading all the while what is meant for its successor.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any, cast

from hypercorn.asyncio.udp_server import UDPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config

#: RFC 9114 section 8.1: closed, and nothing is wrong.
_H3_NO_ERROR = 0x100
_LOOK_EVERY_S = 0.02


class QuicServers:
    """One for each socket. Used on the worker's loop."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, app: Any, config: Config, on_failure: Callable[[BaseException], None]
    ) -> None:
        """app: as Hypercorn wraps it. on_failure: told what ended a server, such as a key that cannot be read."""
        self._loop = loop
        self._app = app
        self._config = config
        self._on_failure = on_failure
        self._context = WorkerContext(None)  # max_requests is the worker's business
        self._servers: list[UDPServer] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, sockets: Sequence[socket.socket], state: dict[str, Any]) -> None:
        """Serve the sockets, which stay open and the caller's. state: of the lifespan."""
        for sock in sockets:
            transport, server = await self._loop.create_datagram_endpoint(
                lambda: UDPServer(self._app, self._loop, self._config, self._context, cast(Any, state)), sock=sock.dup()
            )
            server.transport = transport
            self._servers.append(server)
            task = self._loop.create_task(server.run())
            task.add_done_callback(self._ended)
            self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(error)

    async def drain(self, deadline: float) -> None:
        """Take no new connections, finish what was asked, and have clients connect anew. deadline: the loop's time."""
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
