"""The direct path from the lane's WebSockets into a Quart app: no ASGI messages, no second task, no second queue.

Quart's own ASGIWebsocketConnection makes the Websocket object and sees to the handler's outcome; replaced is only how
messages get in and out. As there, the handler is cancelled when the WebSocket ends. What waits for the
handler is bounded, where Quart's queue has no bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import quart.asgi
from quart import Quart
from quart.asgi import ASGIWebsocketConnection
from quart.signals import websocket_received, websocket_sent

from .websocket_connection import OPEN

if TYPE_CHECKING:
    from .websocket_connection import WebSocketConnection

_METHODS = (
    "__call__",
    "handle_messages",
    "_create_websocket_from_scope",
    "handle_websocket",
    "send_data",
    "accept_connection",
    "close_connection",
)


class _Messages:
    """What Quart takes for its queue."""

    __slots__ = ("_session",)

    def __init__(self, session: WebSocketConnection) -> None:
        self._session = session

    async def get(self) -> str | bytes:
        message = await self._session.get()
        if websocket_received.receivers:
            await websocket_received.send_async(message)
        return message


class QuartWebSocket(ASGIWebsocketConnection):
    """One WebSocket of the lane, as Quart serves it."""

    def __init__(self, app: Quart, session: WebSocketConnection) -> None:
        super().__init__(app, cast(Any, session.scope))
        self._session = session
        self.queue = cast(Any, _Messages(session))

    async def run(self) -> None:
        session = self._session
        session.cancel_at_end = True
        session.keep_ahead(session.lane.config.websocket_max_message_size)
        send = cast(Any, session.send)
        await self.handle_websocket(self._create_websocket_from_scope(send), send)

    async def send_data(self, send: Any, data: str | bytes) -> None:
        session = self._session
        if session.state is OPEN and type(data) in (str, bytes):
            await session.send_message(data)
        else:
            await super().send_data(send, data)
            return
        if websocket_sent.receivers:
            await websocket_sent.send_async(data)


def is_known(kind: type[Quart]) -> bool:
    """Tell whether the app's class serves WebSockets by the code this follows."""
    if kind.asgi_websocket_class is not ASGIWebsocketConnection:
        return False
    for name in _METHODS:
        code = getattr(getattr(ASGIWebsocketConnection, name, None), "__code__", None)
        if code is None or code.co_filename != quart.asgi.__file__:
            return False
    return True
