"""WebSockets that Hypercorn's class reads (over HTTP/2 and HTTP/3, and with `--http hypercorn`), as the app sees them.

An ASGI wrapper around the app has them end politely when the worker drains, as those of HTTP/1.1 do (connection): the
client is sent close code 1012 (reload) or 1001 (stop) and has CLOSE_WAIT_S to answer; then the app receives
`websocket.disconnect` with that code, as if the client had closed. One that is not accepted yet is answered with 503.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ...core.net.client_gone import is_of_gone, tell_gone
from ...core.shared.requests_table import CLOSING, OPEN
from ..lane.connections import ACCEPT_WAIT_S, CLOSE_CODES, CLOSE_WAIT_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..lane.service import Service

    Receive = Callable[[], Awaitable[dict[str, Any]]]
    Send = Callable[[dict[str, Any]], Awaitable[None]]


class State(Enum):
    CONNECTING = 1
    OPEN = 2
    CLOSED = 3


class WebSocketSession:
    """One WebSocket as the app sees it, with a close from our side put in at a drain."""

    __slots__ = (
        "_closing",
        "_code",
        "_receive",
        "_send",
        "_sending",
        "_service",
        "drop",
        "opened",
        "row",
        "scope",
        "stage",
        "started",
        "state",
        "task",
    )
    row: int  # of the in-flight table
    stage: float

    def __init__(
        self, service: Service, scope: dict[str, Any], receive: Receive, send: Send, drop: Callable[[], None] | None
    ) -> None:
        self.scope = scope
        self.started = perf_counter()
        self.task = asyncio.current_task()
        self._service = service
        self._receive = receive
        self._send = send
        self._sending = asyncio.Lock()  # our close must not land between the parts of an app's rejection
        self._code: int | None = None
        self._closing: asyncio.Task[None] | None = None
        self.drop = drop
        self.opened = False
        self.state = State.CONNECTING

    async def receive(self) -> dict[str, Any]:
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self._closed()
            if self._code is not None:
                return {"type": "websocket.disconnect", "code": self._code, "reason": ""}
        elif message["type"] == "websocket.receive":
            # Of its two keys the one that says something; Quart looks for both where an empty one came.
            empty = not (message["text"] or message["bytes"]) and self._service.direct is not None
            return message if empty else {key: value for key, value in message.items() if value is not None}
        return message

    @property
    def _gone(self) -> bool:
        """Whether nothing that the app sends gets to the client any more."""
        return self._code is not None or bool(getattr(getattr(self._send, "__self__", None), "closed", False))

    async def send(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if self._gone:
            if kind != "websocket.close":  # an app that tidies up has no use for an error
                await tell_gone()
            return
        if kind == "websocket.send" and not self._sending.locked():
            await self._send(message)
            return
        async with self._sending:
            if self._code is not None:
                return
            if kind == "websocket.accept":
                await self._send(message)
                self.state = State.OPEN
                self.opened = True
                self._service.counters.websocket_opened()
                self._service.connections.websocket_stage(self, OPEN)
                return
            if kind != "websocket.send":
                self._closed()
            await self._send(message)

    def _closed(self) -> None:
        self.state = State.CLOSED
        self._service.connections.websocket_stage(self, CLOSING)

    def begin_close(self, delay: float) -> None:
        """Close with the drain's reason after `delay` seconds."""
        if self._closing is None and self.state is not State.CLOSED:
            self._closing = self._service.loop.create_task(self._close(delay))

    def done(self) -> None:
        """The app has returned."""
        if self._closing is not None:
            self._closing.cancel()

    async def _close(self, delay: float) -> None:
        if delay:
            await asyncio.sleep(delay)
        code = CLOSE_CODES[self._service.connections.reason]
        for _ in range(int(ACCEPT_WAIT_S / 0.01)):
            if self.state is not State.CONNECTING:
                break
            await asyncio.sleep(0.01)
        async with self._sending:
            if self.state is State.CLOSED:
                return
            if self.state is State.CONNECTING:
                self._code = code
                await reject(self._send)
                self._wake(code)
                return
            self._code = code
            self._service.connections.websocket_stage(self, CLOSING)
            await self._send({"type": "websocket.close", "code": code, "reason": ""})
        # The client's answer makes Hypercorn tell the app; only a client that does not answer is dropped.
        await asyncio.sleep(CLOSE_WAIT_S)
        self._wake(code)
        if self.drop is not None:
            self.drop()

    def _wake(self, code: int) -> None:
        """Give the app its disconnect, where the protocol below has no reason to."""
        queue = getattr(self._receive, "__self__", None)
        if isinstance(queue, asyncio.Queue):
            if queue.full():  # messages the app did not take in all this time are worth less than an end
                queue.get_nowait()
            queue.put_nowait({"type": "websocket.disconnect", "code": code})


async def reject(send: Send) -> None:
    """Answer a handshake with an empty 503 that may be retried at once."""
    headers = [(b"content-length", b"0"), (b"connection", b"close"), (b"retry-after", b"0")]
    await send({"type": "websocket.http.response.start", "status": 503, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b"", "more_body": False})


async def serve_websocket(
    service: Service,
    scope: dict[str, Any],
    receive: Receive,
    send: Send,
    drop: Callable[[], None] | None = None,
) -> None:
    """Run the app for one WebSocket. drop: ends its connection, where it has one of its own."""
    session = WebSocketSession(service, scope, receive, send, drop)
    service.connections.websocket_begun(session)
    if service.connections.draining:
        # Accepted by the kernel or begun before the drain: an upgrade that is refused looks like a failure, one that is
        # closed with a reason looks like what it is.
        session.begin_close(0.0)
    try:
        await service.app(scope, session.receive, session.send)
    except Exception as error:
        if not is_of_gone(error):
            raise
    finally:
        service.connections.websocket_ended(session)
        if session.opened:
            service.counters.websocket_closed()
        session.done()
