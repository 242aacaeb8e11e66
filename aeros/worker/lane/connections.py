"""The open connections of one worker, and how they are drained.

Which protocol a connection speaks is not known here: it registers itself, and is told to drain or to end.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Literal, Protocol

from ...core.shared.requests_table import CONNECTING
from ..report.requests_table import Request, described
from .counters import Counters, NullCounters

if TYPE_CHECKING:
    from ..report.requests_table import InFlightTable

DrainReason = Literal["reload", "stop"]

IDLE_GRACE_S = 0.1
"""When stopping, how long an idle connection may still send a request that was already under way."""

FRESH_GRACE_S = 2.0
"""The same, after a drain delay, for a connection on which nothing was ever asked.

Balancers open connections for a request they are about to send, and on a busy machine may not get to it within 0.1 s.
"""

CLOSE_CODES: dict[DrainReason, int] = {"reload": 1012, "stop": 1001}
"""WebSocket close codes: 1012 service restart, 1001 going away (RFC 6455 section 7.4 and the IANA registry)."""

ACCEPT_WAIT_S = 1.0
"""How long an app may take to accept a handshake that a drain found half-way; then it is answered with 503."""

CLOSE_WAIT_S = 2.0
"""How long a client may take to answer a close frame."""

SPREAD_FROM = 20
SPREAD_PER_SOCKET_S = 0.002
SPREAD_MAX_S = 2.0
"""More than SPREAD_FROM WebSockets are closed over a window that grows with their number, in random order.

All of their clients come back at once otherwise, to the workers that just became ready.
"""

RELOAD_HOLD_S = 0.1
"""How long a reload's close waits: the client comes back at once, and by then no other old worker should accept it."""


class Connection(Protocol):
    """One client connection, whoever serves it."""

    def drain(self) -> None:
        """The worker began to drain (`draining`, `reason`): say so to the client where the protocol can."""

    def close_idle(self) -> None:
        """Close if nothing is in flight, else as soon as nothing is. Called when stopping, after the grace."""

    def abort(self) -> None:
        """Drop the connection now."""

    def idle_since(self) -> float | None:
        """Return the loop's time since when nothing is asked on it, None while something is, or it cannot be told."""

    def under_way(self) -> Iterable[Request]:
        """Return the requests the app is busy with."""


class WebSocket(Request, Protocol):
    """One WebSocket, whoever serves it."""

    def begin_close(self, delay: float) -> None:
        """Close with the drain's reason after `delay` seconds."""


class Connections:
    """Made after the fork, on the worker's loop. websocket_table: where WebSockets are shown, None for nowhere."""

    __slots__ = (
        "_counters",
        "_drained",
        "_fresh_until",
        "_grace",
        "_loop",
        "_websocket_table",
        "closing",
        "draining",
        "farewell",
        "open",
        "reason",
        "running",
        "websockets",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        counters: Counters | None = None,
        websocket_table: InFlightTable | None = None,
    ) -> None:
        self._loop = loop
        self._counters: Counters = NullCounters() if counters is None else counters
        self._websocket_table = websocket_table
        self.open: set[Connection] = set()
        self.websockets: set[WebSocket] = set()
        self.running = 0  # apps at work, some of them maybe for connections that are gone
        self.draining = False
        self.farewell = False  # each HTTP/1 response is its connection's last: draining, or soon to drain
        self.closing = False
        self.reason: DrainReason = "stop"
        self._drained: list[asyncio.Future[None]] = []
        self._grace: asyncio.TimerHandle | None = None
        self._fresh_until = 0.0

    def served(self) -> tuple[Request, ...]:
        """Return the requests and the WebSockets under way."""
        return (*self.under_way(), *self.websockets)

    def under_way(self) -> Iterator[Request]:
        """Return every request the app is busy with."""
        for connection in list(self.open):
            yield from connection.under_way()

    def opened(self, connection: Connection) -> None:
        self.open.add(connection)
        self._counters.connection_opened()
        if self.draining:
            self._grant_grace(connection)

    def closed(self, connection: Connection) -> None:
        """Forget the connection. Harmless when called twice, as happens when another protocol takes it over."""
        if connection not in self.open:
            return
        self.open.discard(connection)
        self._counters.connection_closed()
        if self.draining:
            self._look_if_drained()

    def replaced(self, old: Connection, new: Connection) -> None:
        """`new` serves the connection from now on; it stays one connection."""
        self.open.discard(old)
        self.open.add(new)
        if self.draining:
            new.drain()
            self._grant_grace(new)

    def app_ended(self) -> None:
        """One of the apps that were `running` has returned."""
        self.running -= 1
        if self.draining:
            self._look_if_drained()

    def close_longest_idle(self, most: int) -> int:
        """Close so many of the connections that are idle, the longest idle ones; return how many there were."""
        idle = [(since, one) for one in self.open if (since := one.idle_since()) is not None]
        chosen = heapq.nsmallest(most, idle, key=lambda pair: pair[0])
        for _, connection in chosen:
            connection.abort()
        return len(chosen)

    # WebSockets

    def websocket_begun(self, websocket: WebSocket) -> None:
        """The app is asked whether it takes it."""
        self.websockets.add(websocket)
        if self._websocket_table is not None:
            self._websocket_table.begin(websocket, CONNECTING, *described(websocket.scope))

    def websocket_stage(self, websocket: WebSocket, stage: float) -> None:
        """It is open, or is being closed."""
        if self._websocket_table is not None and websocket in self.websockets:
            self._websocket_table.stage(websocket, stage)

    def websocket_ended(self, websocket: WebSocket) -> None:
        """The app has returned. Harmless when called twice."""
        if websocket in self.websockets:
            self.websockets.discard(websocket)
            if self._websocket_table is not None:
                self._websocket_table.end(websocket)

    def _close_websockets(self) -> None:
        websockets = list(self.websockets)
        hold = RELOAD_HOLD_S if self.reason == "reload" else 0.0
        window = 0.0
        if len(websockets) > SPREAD_FROM:
            window = min(SPREAD_MAX_S, len(websockets) * SPREAD_PER_SOCKET_S)
        for websocket in websockets:
            websocket.begin_close(hold + (random.uniform(0, window) if window else 0.0))

    # Draining

    def begin_drain(self, reason: DrainReason) -> None:
        """Tell every connection to finish. May be called again to turn a reload's drain into a stop's."""
        if self.farewell and not self.draining:
            self._fresh_until = self._loop.time() + FRESH_GRACE_S
        self.draining = self.farewell = True
        self.reason = reason
        for connection in list(self.open):
            connection.drain()
        if reason == "stop" and self._grace is None:
            self._grace = self._loop.call_later(IDLE_GRACE_S, self._close_idle, list(self.open))
        self._close_websockets()

    def _grant_grace(self, connection: Connection) -> None:
        """Give a connection that came up while stopping, out of the backlog, the time every other one had."""
        if self.reason == "stop":
            self._loop.call_later(IDLE_GRACE_S, self._close_one_idle, connection)

    def _close_one_idle(self, connection: Connection) -> None:
        if connection not in self.open:
            return
        left = self._fresh_until - self._loop.time()
        if left > 0 and getattr(connection, "requests", None) == 0:
            self._loop.call_later(min(left, IDLE_GRACE_S), self._close_one_idle, connection)
        else:
            connection.close_idle()

    def _close_idle(self, connections: list[Connection]) -> None:
        self.closing = True
        for connection in connections:
            self._close_one_idle(connection)

    async def drained(self) -> None:
        """Return when the last connection is gone, and the app has finished with it.

        Bound the wait with the drain deadline, then call abort(). Only meaningful once begin_drain() was called.
        """
        if not self.open and not self.running:
            return
        future = self._loop.create_future()
        self._drained.append(future)
        await future

    def _look_if_drained(self) -> None:
        if self.open or self.running:
            return
        for future in self._drained:
            if not future.done():
                future.set_result(None)
        self._drained.clear()

    def abort(self) -> int:
        """Drop every connection that is left and return how many there were."""
        left = list(self.open)
        for connection in left:
            connection.abort()
        return len(left)
