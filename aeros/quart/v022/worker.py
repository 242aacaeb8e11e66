"""What the direct path needs for Quart 0.22; see quart_line."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, cast

from quart import Quart
from quart.asgi import ASGIWebsocketConnection
from werkzeug.exceptions import RequestEntityTooLarge

from ...worker.websocket.asgi import Channel
from ..body import PartedBody
from ..websocket import WatchedApp, next_message, send_message

if TYPE_CHECKING:
    from ...worker.lane.exchange import Exchange
    from ...worker.websocket.connection import WebSocketConnection

CLIENT_GONE: tuple[type[Exception], ...] = ()
"""What Quart raises where a handler goes on although the client is gone: here nothing."""

BODY_STATE = {"_data", "_complete", "_has_data", "_max_content_length", "_must_raise"}
"""What Body.__init__ makes, of which LaneBody.__init__ has its own version."""


class _LazyEvent:
    """An asyncio.Event that comes to be when it is first looked at, set if the body has ended by then."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, body: Any, owner: type) -> Any:
        if body is None:
            return self
        event = body.__dict__[self._name] = asyncio.Event()
        if body._ended:
            event.set()
        return event


class LaneBody(PartedBody):
    """Quart's request body, which also tells the connection when the handler wants more of it.

    While nobody reads, or somebody iterates slower than the client sends, reading from the client stops at
    READ_AHEAD bytes. Awaiting the whole body takes that limit away: then MAX_CONTENT_LENGTH is the bound, as in Quart.

    Quart's puts each piece behind the others in a bytearray and copies that for the app. Here the pieces are kept as
    they come, and joined when they are asked for; one alone is given to the app as it is.
    """

    # Body.__init__ makes these two; here they are made when somebody waits, which for most requests is never.
    _complete: asyncio.Event = _LazyEvent()  # type: ignore[assignment]
    _has_data: asyncio.Event = _LazyEvent()  # type: ignore[assignment]

    # The app's side

    async def __anext__(self) -> bytes:
        if self._must_raise is not None:
            raise self._must_raise
        if not self._size:
            self._carrier.resume_reading()
        if not self._ended and not self._size:
            await self._has_data.wait()
        if self._ended and not self._size:
            raise StopAsyncIteration
        data = self._take()
        if "_has_data" in self.__dict__:
            self._has_data.clear()
        self._carrier.resume_reading()
        return data

    def __await__(self) -> Generator[Any, None, Any]:
        self._wanted_whole = True
        if self._must_raise is not None:
            raise self._must_raise
        self._carrier.resume_reading()
        if not self._ended:
            yield from self._complete.wait().__await__()
            if self._must_raise is not None:  # by now
                raise self._must_raise
        data = self._take()
        self._parts.append(data)  # it may be awaited again
        self._size = len(data)
        return data

    def clear(self) -> None:
        self._take()

    def _take(self) -> bytes:
        """Return all that has come, and keep nothing of it."""
        self._size = 0
        if self._room is not None:
            data = self._room.take()
            if self._ended:
                self._room = None
            return data
        parts = self._parts
        data = bytes(parts[0]) if len(parts) == 1 else b"".join(parts)
        parts.clear()
        return data

    # The connection's side

    def append(self, data: bytes) -> None:
        if not data or self._must_raise is not None:
            return
        self._add(data)
        self._wake()
        if self._max_content_length is not None and self._size > self._max_content_length:
            self._must_raise = RequestEntityTooLarge()
            self.set_complete()

    def set_complete(self) -> None:
        self._ended = True
        if "_complete" in self.__dict__:
            self._complete.set()
        self._wake()

    def _wake(self) -> None:
        if "_has_data" in self.__dict__:
            self._has_data.set()


def feeder(body: Any, exchange: Exchange) -> Any:
    """Return what takes the client's bytes for a body class of the app's own: itself, without limit, as by Quart."""
    return body


COUNTED: tuple[type[Any], ...] = (LaneBody,)
"""What can tell how many bytes wait in it for the app."""


def tell_gone(body: Any) -> None:
    """Tell the body that the client is gone: it has no use for that."""


class _Messages:
    """What Quart takes for its queue."""

    __slots__ = ("_session",)

    def __init__(self, session: WebSocketConnection) -> None:
        self._session = session

    async def get(self) -> str | bytes:
        return await next_message(self._session, None)


class QuartWebSocket(ASGIWebsocketConnection):
    """One WebSocket of the lane, as Quart serves it."""

    def __init__(self, app: Quart, session: WebSocketConnection) -> None:
        super().__init__(app, cast(Any, session.scope))
        self._session = session
        self.queue = cast(Any, _Messages(session))

    async def run(self) -> None:
        session = self._session
        session.cancel_at_end = True
        session.keep_ahead(session.service.config.websocket_max_message_size)
        app = WatchedApp(self.app)
        send = app.closing(Channel(session).send)
        websocket = self._create_websocket_from_scope(send)
        self.app = cast(Any, app)
        await self.handle_websocket(websocket, send)

    async def send_data(self, send: Any, data: str | bytes) -> None:
        if not await send_message(self._session, data):
            await super().send_data(send, data)
