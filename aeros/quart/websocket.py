"""The direct path from the lane's WebSockets into a Quart app: no ASGI messages, no second task, no second queue.

Quart's own ASGIWebsocketConnection makes the Websocket object and sees to the handler's outcome; replaced is only how
messages get in and out (QuartWebSocket, in quart_line). As there, the handler is cancelled when the WebSocket ends.
What waits for the handler is bounded, where Quart's queue has no bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import quart.asgi
from quart import Quart
from quart.asgi import ASGIWebsocketConnection
from quart.signals import websocket_received, websocket_sent

from ..worker.websocket.state import INTERNAL_ERROR, OPEN

if TYPE_CHECKING:
    from ..worker.websocket.connection import WebSocketConnection

_METHODS = (
    "__call__",
    "handle_messages",
    "_create_websocket_from_scope",
    "handle_websocket",
    "send_data",
    "accept_connection",
    "close_connection",
)


class WatchedApp:
    """The app as Quart's code for one WebSocket calls it, and how its handler has ended."""

    def __init__(self, app: Quart) -> None:
        self._app = app
        self.failed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app, name)

    async def handle_websocket(self, websocket: Any) -> Any:
        self.failed = True  # should it raise
        response = await self._app.handle_websocket(websocket)
        self.failed = response is not None and response.status_code >= 500
        return response

    def closing(self, send: Any) -> Any:
        """Return a `send` that closes with 1011 where the handler failed (RFC 6455 section 7.4.1): Quart says 1000, "as
        wanted". What the app itself closes with has a reason, if an empty one."""

        async def closing(message: dict[str, Any]) -> None:
            if self.failed and message["type"] == "websocket.close" and "reason" not in message:
                message = {**message, "code": INTERNAL_ERROR}
            await send(message)

        return closing


async def next_message(session: WebSocketConnection, gone: type[Exception] | None) -> str | bytes:
    """Return the next message. gone: what to raise when there will be none; None waits until cancelled."""
    message = await session.get(gone)
    if websocket_received.receivers:
        await websocket_received.send_async(message)
    return message


async def send_message(session: WebSocketConnection, data: str | bytes) -> bool:
    """Send one message and return True; False when that is Quart's to do, or to refuse."""
    if session.state is not OPEN or type(data) not in (str, bytes):
        return False
    await session.send_message(data)
    if websocket_sent.receivers:
        await websocket_sent.send_async(data)
    return True


def is_known(kind: type[Quart]) -> bool:
    """Tell whether the app's class serves WebSockets by the code this follows."""
    if kind.asgi_websocket_class is not ASGIWebsocketConnection:
        return False
    for name in _METHODS:
        code = getattr(getattr(ASGIWebsocketConnection, name, None), "__code__", None)
        if code is None or code.co_filename != quart.asgi.__file__:
            return False
    return True
