"""WebSockets that end politely when their worker drains.

How all of them do, and for those in Hypercorn's hands (handover) an ASGI wrapper around the app; the lane's own are in
websocket_connection. At a drain the client is sent close code 1012 (reload) or 1001 (stop) and has
CLOSE_WAIT_S to answer; then the app receives `websocket.disconnect` with that code, as if the client had closed. One
that is not accepted yet is answered with 503.
"""

from __future__ import annotations

import asyncio
import random
from enum import Enum
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ...core.net.client_gone import is_of_gone, tell_gone
from ...core.shared.requests_table import CLOSING, OPEN
from ..lane.lane import CLOSE_CODES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..lane.lane import Lane

    Receive = Callable[[], Awaitable[dict[str, Any]]]
    Send = Callable[[dict[str, Any]], Awaitable[None]]

ACCEPT_WAIT_S = 1.0
"""How long an app may take to accept a handshake that a drain found half-way; then it is answered with 503."""

CLOSE_WAIT_S = 2.0
"""How long a client may take to answer a close frame."""

SPREAD_FROM = 20
SPREAD_PER_SOCKET_S = 0.002
SPREAD_MAX_S = 2.0
"""More than SPREAD_FROM sockets are closed over a window that grows with their number, in random order.

They all come back at once otherwise, to the workers that just became ready.
"""

RELOAD_HOLD_S = 0.1
"""How long a reload's close waits: the client comes back at once, and by then no other old worker should accept it."""


class State(Enum):
    CONNECTING = 1
    OPEN = 2
    CLOSED = 3


class WebSocketSession:
    """One WebSocket as the app sees it, with a close from our side put in at a drain."""

    __slots__ = (
        "_closing",
        "_code",
        "_lane",
        "_receive",
        "_send",
        "_sending",
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
        self, lane: Lane, scope: dict[str, Any], receive: Receive, send: Send, drop: Callable[[], None] | None
    ) -> None:
        self.scope = scope
        self.started = perf_counter()
        self.task = asyncio.current_task()
        self._lane = lane
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
            empty = not (message["text"] or message["bytes"]) and self._lane.direct is not None
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
                self._lane.counters.websocket_opened()
                self._lane.websocket_stage(self, OPEN)
                return
            if kind != "websocket.send":
                self._closed()
            await self._send(message)

    def _closed(self) -> None:
        self.state = State.CLOSED
        self._lane.websocket_stage(self, CLOSING)

    def begin_close(self, delay: float) -> None:
        """Close with the lane's reason after `delay` seconds."""
        if self._closing is None and self.state is not State.CLOSED:
            self._closing = self._lane.loop.create_task(self._close(delay))

    def done(self) -> None:
        """The app has returned."""
        if self._closing is not None:
            self._closing.cancel()

    async def _close(self, delay: float) -> None:
        if delay:
            await asyncio.sleep(delay)
        code = CLOSE_CODES[self._lane.reason]
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
            self._lane.websocket_stage(self, CLOSING)
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
    lane: Lane,
    scope: dict[str, Any],
    receive: Receive,
    send: Send,
    drop: Callable[[], None] | None = None,
) -> None:
    """Run the lane's app for one WebSocket. drop: ends its connection, where it has one of its own."""
    session = WebSocketSession(lane, scope, receive, send, drop)
    lane.websocket_begun(session)
    if lane.draining:
        # Accepted by the kernel or begun before the drain: an upgrade that is refused looks like a failure, one that is
        # closed with a reason looks like what it is.
        session.begin_close(0.0)
    try:
        await lane.app(scope, session.receive, session.send)
    except Exception as error:
        if not is_of_gone(error):
            raise
    finally:
        lane.websocket_ended(session)
        if session.opened:
            lane.counters.websocket_closed()
        session.done()


def drain_websockets(lane: Lane) -> None:
    """Begin to close every WebSocket of the lane."""
    sessions = list(lane.websockets)
    hold = RELOAD_HOLD_S if lane.reason == "reload" else 0.0
    window = 0.0
    if len(sessions) > SPREAD_FROM:
        window = min(SPREAD_MAX_S, len(sessions) * SPREAD_PER_SOCKET_S)
    for session in sessions:
        session.begin_close(hold + (random.uniform(0, window) if window else 0.0))
