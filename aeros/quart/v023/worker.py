"""What the direct path needs for Quart 0.23; see quart_line.

Here a client that goes away is told to the body and to the WebSocket's buffer too, before the handler is cancelled:
whoever still reads from them, in a task of its own perhaps, gets a ClientDisconnectedError.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import TYPE_CHECKING, Any, cast

from quart import Quart
from quart.asgi import ASGIWebsocketConnection
from quart.wrappers import ClientDisconnectedError
from quart.wrappers.websocket import Buffer
from werkzeug.exceptions import RequestEntityTooLarge

from ...worker.lane.waiters import Waiters, wait_among, wake
from ...worker.websocket.asgi import Channel
from ..body import PartedBody
from ..websocket import WatchedApp, next_message, send_message

if TYPE_CHECKING:
    from ...worker.lane.exchange import Carrier, Exchange
    from ...worker.websocket.connection import WebSocketConnection

CLIENT_GONE: tuple[type[Exception], ...] = (ClientDisconnectedError,)
"""What Quart raises where a handler goes on although the client is gone."""

BODY_STATE = {"_data", "_complete", "_queue", "_max_content_length", "_must_raise"}
"""What Body.__init__ makes, of which LaneBody.__init__ has its own version."""


class LaneBody(PartedBody):
    """Quart's request body, which also tells the connection when the handler wants more of it.

    While nobody reads, or somebody iterates slower than the client sends, reading from the client stops at
    READ_AHEAD bytes. Awaiting the whole body takes that limit away: then MAX_CONTENT_LENGTH is the bound. Quart checks
    it when all has come; here it is a 413 as soon as it is exceeded, or the client could fill the memory.
    """

    # Quart's own makes an asyncio.Queue and an asyncio.Event, for which in most requests nobody ever waits.

    def __init__(self, carrier: Carrier, expected: int | None, maximum: int | None) -> None:
        super().__init__(carrier, expected, maximum)
        self._data = None
        self._readers: Waiters = []
        self._gone = False

    # The connection's side

    def append(self, data: bytes) -> None:
        if data and self._must_raise is None:
            self._add(data)
            if self._wanted_whole:
                self._compare_size()
            self._wake()

    def set_complete(self) -> None:
        self._ended = True
        self._wake()

    def disconnect(self) -> None:
        self._gone = True
        self._wake()

    # The handler's side

    async def __anext__(self) -> bytes:
        if self._must_raise is not None:
            raise self._must_raise
        if self._ended and not self._size:
            raise StopAsyncIteration
        return await self.get()

    async def get(self) -> bytes:
        """As Body.get: the next part, or b"" for a reader that was waiting when the body ended."""
        while not self._size:
            if self._ended:
                return b""
            if self._gone:
                raise ClientDisconnectedError
            if self._must_raise is not None:
                raise self._must_raise
            self._carrier.resume_reading()
            await self._news()
        data = self._parts.popleft() if self._room is None else self._room.take()
        self._size -= len(data)
        self._carrier.resume_reading()
        return bytes(data)

    def __await__(self) -> Generator[Any, None, Any]:
        if self._data is None:
            self._wanted_whole = True
            self._compare_size()
            if self._must_raise is None:
                self._carrier.resume_reading()
            while not self._ended and self._must_raise is None:
                if self._gone:
                    raise ClientDisconnectedError
                yield from self._news().__await__()
        if self._must_raise is not None:
            raise self._must_raise
        if self._data is None:
            self._data = b"".join(self._parts) if self._room is None else self._room.take()
            self._parts.clear()
            self._room = None
            self._size = 0
        return self._data

    # As Body's, for whoever plays the client

    async def put(self, data: bytes) -> None:
        self.append(data)

    def set_result(self, data: bytes) -> None:
        self.append(data)
        self.set_complete()

    def _compare_size(self) -> None:
        maximum = self._max_content_length
        if maximum is not None and self._size > maximum:
            self._must_raise = RequestEntityTooLarge()
            self._parts.clear()
            self._size = 0

    def _news(self) -> Coroutine[Any, Any, None]:
        return wait_among(self._readers, self._carrier.service.loop)

    def _wake(self) -> None:
        wake(self._readers)


class _Feeder:
    """Feeds a body class of the app's own, whose `put` may wait; what waits for it meanwhile is the read-ahead."""

    __slots__ = ("_body", "_ended", "_exchange", "_task", "_waiting")

    def __init__(self, body: Any, exchange: Exchange) -> None:
        self._body = body
        self._exchange = exchange
        self._waiting = bytearray()
        self._ended = False
        self._task: asyncio.Task[None] | None = None

    def append(self, data: bytes) -> None:
        self._waiting += data
        self._go_on()

    def set_complete(self) -> None:
        self._ended = True
        self._go_on()

    def disconnect(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._body.disconnect()

    def buffered(self) -> int:
        return len(self._waiting)

    def _go_on(self) -> None:
        if self._task is None:
            self._task = self._exchange.carrier.service.loop.create_task(self._feed())

    async def _feed(self) -> None:
        exchange = self._exchange
        try:
            while self._waiting:
                data = bytes(self._waiting)
                self._waiting.clear()
                await self._body.put(data)
                exchange.carrier.resume_reading()
            if self._ended:
                self._body.set_complete()
        except Exception:
            # In Quart's task group it would end the request too.
            await exchange.carrier.service.config.log.exception("Error in ASGI Framework")
            exchange.cancel()
        finally:
            self._task = None


def feeder(body: Any, exchange: Exchange) -> Any:
    """Return what takes the client's bytes for a body class of the app's own."""
    return _Feeder(body, exchange)


COUNTED: tuple[type[Any], ...] = (LaneBody, _Feeder)
"""What can tell how many bytes wait in it for the app."""


def tell_gone(body: Any) -> None:
    """Tell the body that the client is gone."""
    body.disconnect()


class _LaneBuffer(Buffer):
    """What Quart takes for the queue of messages, without a queue of its own."""

    def __init__(self, session: WebSocketConnection) -> None:
        self._session = session

    async def get(self) -> str | bytes:
        return await next_message(self._session, ClientDisconnectedError)


class QuartWebSocket(ASGIWebsocketConnection):
    """One WebSocket of the lane, as Quart serves it."""

    def __init__(self, app: Quart, session: WebSocketConnection) -> None:
        super().__init__(app, cast(Any, session.scope))
        self._session = session

    async def run(self) -> None:
        session = self._session
        channel = Channel(session)
        send = cast(Any, channel.send)
        if self.app.websocket_class.buffer_class is not Buffer:  # it wants to be fed
            await self(cast(Any, channel.receive), send)
            return
        session.cancel_at_end = True
        session.keep_ahead(session.service.config.websocket_max_message_size)
        app = WatchedApp(self.app)
        send = app.closing(channel.send)
        websocket = self._create_websocket_from_scope(send)
        websocket.buffer = _LaneBuffer(session)
        self.app = cast(Any, app)
        await self.handle_websocket(websocket, send)

    async def send_data(self, send: Any, data: str | bytes) -> None:
        if not await send_message(self._session, data):
            self._disconnected = self._session.over
            await super().send_data(send, data)
