"""Connections served by Hypercorn's own classes: all of them with `--http hypercorn`.

Hypercorn's TCPServer runs on a connection of ours. What is added is draining: Hypercorn knows only "terminated", which
cuts idle connections at once and never says GOAWAY. So each connection gets a WorkerContext of its own, which is
terminated when this connection may go.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

import h11
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h11 import LocalProtocolError
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.events import Event, RawData
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.h11 import H11Protocol
from hyperframe.frame import GoAwayFrame

from ..http2.flood_guard import FrameGuard
from ..http2.frames import LAST_STREAM_ID, PREFACE
from ..http2.goaway import GOAWAY_GRACE_S, GOAWAY_IDLE_WAIT_S
from .app import HandedApp

if TYPE_CHECKING:
    from ..accept.proxy_protocol import Announced
    from ..lane.service import Service
    from ..report.requests_table import Request

READ_LIMIT = 1 << 16
"""asyncio's own default for a StreamReader: reading pauses at twice this."""

FRAMES_AT_ONCE = 100
"""HTTP/2 frames given to h2 in one turn of the loop; each takes it some 50 us."""


class HandedConnection(TCPServer):
    """One connection in Hypercorn's hands, and our handle on it."""

    def __init__(self, service: Service, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        context = WorkerContext(None)  # max_requests is the worker's business, not a connection's
        super().__init__(
            cast(Any, HandedApp(service, self)),
            service.loop,
            service.config,
            context,
            cast(Any, service.state),
            reader,
            writer,
        )
        self.service = service
        self.requests: set[Any] = set()
        self.announced: Announced | None = None
        self._going_away: asyncio.Task[None] | None = None
        ssl_object = writer.get_extra_info("ssl_object")
        self.tls: dict[str, Any] | None = None
        if ssl_object is not None:
            from ..accept.tls import tls_extension

            self.tls = tls_extension(ssl_object)

    async def run(self) -> None:
        try:
            await super().run()
        except BaseExceptionGroup as group:
            # Hypercorn lets a few protocol errors through its task group; the connection is over either way.
            _, others = group.split((OSError, asyncio.CancelledError))
            if others is not None:
                await self.config.log.exception("Error in a connection")
        finally:
            if self._going_away is not None:
                self._going_away.cancel()

    async def _read_data(self) -> None:
        self.protocol = cast(Any, GuardedProtocol(self, self.protocol))
        await super()._read_data()
        # The client is gone. Hypercorn would keep the connection until its idle timer ends.
        await self.idle_task.stop()

    @property
    def _http2(self) -> H2Protocol | None:
        wrapper = getattr(self, "protocol", None)
        protocol = getattr(wrapper, "protocol", None)
        return protocol if isinstance(protocol, H2Protocol) else None

    # connections.Connection

    def drain(self) -> None:
        # HTTP/1.1 hears of it in its next response (HandedApp), a WebSocket by its close frame.
        if self._going_away is None:
            self._going_away = self.loop.create_task(self._go_away())

    def close_idle(self) -> None:
        if self._http2 is None:
            self.terminate()

    def idle_since(self) -> float | None:
        return None  # Hypercorn's own affair

    def under_way(self) -> Iterable[Request]:
        return tuple(self.requests)

    def abort(self) -> None:
        self.terminate()
        transport = self.writer.transport
        transport.abort()
        for task in list(self._tasks()):
            task.cancel()

    def terminate(self) -> None:
        """Have Hypercorn end the connection once nothing is in flight on it; at once if it is idle."""
        self.context.terminated._event.set()  # type: ignore[attr-defined] # EventWrapper.set() only adds an await

    def _tasks(self) -> set[asyncio.Task[Any]]:
        group = getattr(getattr(self, "_task_group", None), "_task_group", None)
        return getattr(group, "_tasks", set())

    async def _go_away(self) -> None:
        """Tell an HTTP/2 client in two steps to open no more streams here, then let the connection end."""
        # ALPN may have chosen HTTP/2 a moment ago, and the connection not have said its own hello yet.
        for _ in range(100):
            if hasattr(self, "protocol"):
                break
            await asyncio.sleep(0.01)
        protocol = self._http2
        if protocol is None:
            return
        deadline = self.loop.time() + GOAWAY_IDLE_WAIT_S
        while not protocol.idle and self.loop.time() < deadline:  # noqa: ASYNC110 - streams end without telling
            await asyncio.sleep(0.01)
        await self._send_goaway(LAST_STREAM_ID)
        await asyncio.sleep(GOAWAY_GRACE_S)
        connection: H2Connection = protocol.connection
        await self._send_goaway(connection.highest_inbound_stream_id)
        self.terminate()
        if protocol.idle:
            await self._initiate_server_close()

    def drop(self) -> None:
        """Close it: its WebSocket is over."""
        self.writer.close()

    async def cut(self, stream_id: int | None) -> None:
        """Reset one HTTP/2 stream; a connection of HTTP/1 ends as a whole."""
        protocol = self._http2
        if protocol is None or stream_id is None:
            self.writer.transport.abort()
            return
        with contextlib.suppress(ProtocolError):
            protocol.connection.reset_stream(stream_id, error_code=ErrorCodes.INTERNAL_ERROR)
            await protocol._flush()

    async def end_http2(self, error_code: int) -> None:
        """End the connection at once with a GOAWAY that says why; its requests are cancelled as on a disconnect."""
        protocol = self._http2
        last = protocol.connection.highest_inbound_stream_id if protocol is not None else 0
        frame = GoAwayFrame(stream_id=0, last_stream_id=last, error_code=error_code)
        self.writer.write(frame.serialize())
        await self._initiate_server_close()

    async def _send_goaway(self, last_stream_id: int) -> None:
        # Written past h2, whose own close_connection() would refuse every frame of the streams still open.
        frame = GoAwayFrame(stream_id=0, last_stream_id=last_stream_id)
        await self.protocol_send(RawData(data=frame.serialize()))


class GuardedProtocol:
    """Hypercorn's protocol of a connection, behind a count of the HTTP/2 frames that come in."""

    def __init__(self, connection: HandedConnection, inner: ProtocolWrapper) -> None:
        self._connection = connection
        self._inner = inner
        self._guard: FrameGuard | None = None
        if isinstance(inner.protocol, H11Protocol) and (connection.tls is not None or not connection.service.http2):
            # It would change to HTTP/2 for a preface or an upgrade.
            cast(Any, inner.protocol)._check_protocol = self._refuse_http2

    async def _refuse_http2(self, request: h11.Request) -> None:
        """Take an upgrade to h2c for any that is not known, and the preface for what it is to HTTP/1: malformed."""
        if request.http_version == b"2.0":
            await cast(H11Protocol, self._inner.protocol)._send_error_response(400)
            raise ConnectionAbortedError("HTTP/2 is not served here")

    @property
    def protocol(self) -> Any:
        return self._inner.protocol

    async def handle(self, event: Event) -> None:
        if type(event) is RawData and event.data:
            guard = self._guard
            if guard is None and (type(self._inner.protocol) is H2Protocol or self._begins_http2(event.data)):
                largest = self._connection.config.h2_max_inbound_frame_size
                guard = self._guard = FrameGuard(self._connection.loop.time, largest)
            if guard is not None:
                before = guard.frames
                if code := guard.feed(event.data):
                    await self._connection.end_http2(code)
                    return
                if guard.frames - before > FRAMES_AT_ONCE:
                    await self._in_pieces(event.data, guard.frames - before)
                    return
        try:
            await self._inner.handle(event)
        except LocalProtocolError as error:
            # Hypercorn answers some malformed handshakes of WebSockets in a way that h11 refuses: the client's fault.
            raise ConnectionAbortedError(str(error)) from error

    def _begins_http2(self, data: bytes) -> bool:
        return data[:4] == PREFACE[:4] and self._connection.tls is None and self._connection.service.http2

    async def _in_pieces(self, data: bytes, frames: int) -> None:
        """Let others have their turn in between: what was read at once may be thousands of small frames."""
        step = max(1, len(data) * FRAMES_AT_ONCE // frames)
        for start in range(0, len(data), step):
            await self._inner.handle(RawData(data=data[start : start + step]))
            await asyncio.sleep(0)


class HandedProtocol(asyncio.StreamReaderProtocol):
    """asyncio's stream protocol, whose connection is the lane's from its first moment to its last."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.connection: HandedConnection | None = None
        self.announced: Announced | None = None  # what a PROXY header said of the client
        self._running: asyncio.Task[None] | None = None
        # Held here as well: a StreamReaderProtocol without a callback keeps its reader only weakly.
        self._reader = asyncio.StreamReader(limit=READ_LIMIT, loop=service.loop)
        super().__init__(self._reader, None, loop=service.loop)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        writer = asyncio.StreamWriter(cast(Any, transport), self, self._reader, self.service.loop)
        connection = self.connection = HandedConnection(self.service, self._reader, writer)
        connection.announced = self.announced
        self.service.connections.opened(cast(Any, connection))
        if self.service.connections.draining:
            connection.drain()
        self.service.connections.running += 1
        self._running = self.service.loop.create_task(connection.run())
        self._running.add_done_callback(self._ran)

    def _ran(self, task: asyncio.Task[None]) -> None:
        self.service.connections.app_ended()
        if not task.cancelled() and (error := task.exception()) is not None:
            self.service.loop.call_exception_handler(
                {"message": "Error in a connection", "exception": error, "task": task}
            )
        transport = self.connection.writer.transport if self.connection is not None else None
        if transport is not None and not transport.is_closing():
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.connection is not None:
            self.service.connections.closed(cast(Any, self.connection))


def hypercorn_protocol_factory(service: Service) -> Callable[[], HandedProtocol]:
    """Return the factory for `loop.connect_accepted_socket` or `loop.create_server` with `--http hypercorn`."""

    def make() -> HandedProtocol:
        return HandedProtocol(service)

    return make
