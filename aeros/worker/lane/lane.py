"""What all connections of one worker share, and how they are drained.

The lane knows nothing of any protocol: a connection registers itself, and is told to drain or to end.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, Protocol

from hypercorn.config import Config

from ...core.shared.requests_table import CONNECTING
from ...quart.versions import knows_quart
from ..http1.response import CommonHeaders
from ..http2.hpack_encoder import CommonFields
from ..report.access_log import Access, access_logger
from ..report.requests_table import Request, described
from .body_budget import BodyBudget
from .limits import Limits

if TYPE_CHECKING:
    from ...quart.delivery import DirectPath
    from ..http1.parser import Head
    from ..report.requests_table import InFlightTable, Request
    from .forwarded import Forwarded
    from .overload import Overload

DrainReason = Literal["reload", "stop"]

IDLE_GRACE_S = 0.1
"""When stopping, how long an idle connection may still send a request that was already under way."""

FRESH_GRACE_S = 2.0
"""The same, after a drain delay, for a connection on which nothing was ever asked.

Balancers open connections for a request they are about to send, and on a busy machine may not get to it within 0.1 s.
"""

CLOSE_CODES: dict[DrainReason, int] = {"reload": 1012, "stop": 1001}
"""WebSocket close codes: 1012 service restart, 1001 going away (RFC 6455 section 7.4 and the IANA registry)."""


class Counters(Protocol):
    """What the worker counts. Called on the loop, once or twice per request: each call must cost well under 1 us."""

    def connection_opened(self) -> None: ...
    def connection_closed(self) -> None: ...
    def request_started(self) -> None: ...

    def request_finished(self, status: int, bytes_in: int, bytes_out: int, seconds: float) -> None:
        """status: 0 where no response was sent. Bytes are those of heads and bodies, without TLS."""

    def websocket_opened(self) -> None: ...
    def websocket_closed(self) -> None: ...
    def websocket_bytes(self, bytes_in: int, bytes_out: int) -> None: ...


class NullCounters:
    """Counts nothing."""

    def connection_opened(self) -> None:
        pass

    def connection_closed(self) -> None:
        pass

    def request_started(self) -> None:
        pass

    def request_finished(self, status: int, bytes_in: int, bytes_out: int, seconds: float) -> None:
        pass

    def websocket_opened(self) -> None:
        pass

    def websocket_closed(self) -> None:
        pass

    def websocket_bytes(self, bytes_in: int, bytes_out: int) -> None:
        pass


class Connection(Protocol):
    """One client connection, whoever serves it."""

    def drain(self) -> None:
        """The lane began to drain (`lane.draining`, `lane.reason`): say so to the client where the protocol can."""

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
        """Close with the lane's reason after `delay` seconds."""


class Lane:
    """One worker's connections and what they all need. Made after the fork, on the worker's loop.

    app: the ASGI app. config: Hypercorn's, complete. state: the lifespan state, filled by lifespan startup.
    table, websocket_table: where the requests and the WebSockets under way are shown, None for nowhere.
    request_ids: give each request an X-Request-ID, and send it back.
    forwarded: reads what trusted proxies say of their clients; None where none is trusted.
    """

    __slots__ = (
        "_drained",
        "_fresh_until",
        "_grace",
        "_telling",
        "_told_until",
        "access",
        "app",
        "bodies",
        "closing",
        "common",
        "common_fields",
        "config",
        "connections",
        "counters",
        "direct",
        "draining",
        "farewell",
        "first_heads",
        "forwarded",
        "gathers",
        "http2",
        "incomplete_size",
        "keep_alive_max_requests",
        "keep_alive_timeout",
        "limits",
        "loop",
        "max_streams",
        "overload",
        "read_timeout",
        "reason",
        "request_ids",
        "root_path",
        "running",
        "server_names",
        "state",
        "table",
        "websocket_table",
        "websockets",
    )

    def __init__(
        self,
        app: Any,
        config: Config,
        *,
        loop: asyncio.AbstractEventLoop,
        state: dict[str, Any] | None = None,
        counters: Counters | None = None,
        table: InFlightTable | None = None,
        websocket_table: InFlightTable | None = None,
        limits: Limits | None = None,
        forwarded: Forwarded | None = None,
        request_ids: bool = False,
    ) -> None:
        self.app = app
        self.config = config
        self.loop = loop
        #: Whether `writelines` may be used: that of asyncio in CPython 3.12.0 to 3.13.1 forgets to pause who writes.
        self.gathers = type(loop).__module__.startswith("uvloop")
        self.state: dict[str, Any] = {} if state is None else state
        self.counters: Counters = NullCounters() if counters is None else counters
        self.table = table
        self.websocket_table = websocket_table
        self.forwarded = forwarded
        self.request_ids = request_ids
        self.draining = False
        self.farewell = False  # each HTTP/1 response is its connection's last: draining, or soon to drain
        self.closing = False
        self.reason: DrainReason = "stop"
        self.connections: set[Connection] = set()
        self.websockets: set[WebSocket] = set()
        self.running = 0  # apps at work, some of them maybe for connections that are gone
        self._drained: list[asyncio.Future[None]] = []
        self._grace: asyncio.TimerHandle | None = None
        self._fresh_until = 0.0
        # Read once: none of these can change while a worker runs, and each is a look-up per request otherwise.
        self.access: Access | None = access_logger(config)
        self.common = CommonHeaders(config)  # as bytes of HTTP/1
        self.common_fields = CommonFields(config)  # and of HTTP/2
        self.incomplete_size: int = config.h11_max_incomplete_size
        self.keep_alive_max_requests: int = config.keep_alive_max_requests
        # Over HTTP/2 a connection's end loses requests in clients that do not send again what a GOAWAY has excluded.
        asked = config.keep_alive_max_requests != Config.keep_alive_max_requests
        self.max_streams: float = config.keep_alive_max_requests if asked else math.inf
        self.keep_alive_timeout: float = config.keep_alive_timeout
        self.read_timeout: float | None = config.read_timeout
        self.root_path: str = config.root_path
        self.limits = limits or Limits()
        self.first_heads: dict[bytes, Head] = {}  # see HeadParser
        memory = self.limits.body_memory_bytes
        self.bodies = None if memory is None else BodyBudget(memory, loop, self._body_turned_away)
        self._told_until = 0.0
        self.overload: Overload | None = None
        if self.limits.queue_timeout_s is not None:
            from .shedding import Shedding

            self.overload = Shedding(self, self.limits.queue_timeout_s)
        elif self.limits.concurrency is not None or self.limits.request_timeout_s is not None:
            from .overload import Overload

            self.overload = Overload(self)
        self.server_names: list[str] = config.server_names
        self.http2 = "h2" in config.alpn_protocols
        self.direct: DirectPath | None = None
        if "quart" in sys.modules and knows_quart():  # a plain ASGI app must not need Quart
            from ...quart.delivery import direct_path
            from ...quart.forms import bound_forms
            from ...quart.ranges import mend_ranges

            bound_forms()
            mend_ranges()
            self.direct = direct_path(self)

    def _body_turned_away(self) -> None:
        """Say once a minute that request bodies find no room."""
        now = self.loop.time()
        if now >= self._told_until:
            self._told_until = now + 60.0
            size = (self.limits.body_memory_bytes or 0) >> 20
            text = f"a request got 503: handlers that await bodies have {size} MiB of them already (--body-memory)"
            self._telling = self.loop.create_task(self.config.log.warning(text))

    @property
    def connections_open(self) -> int:
        return len(self.connections)

    def under_way(self) -> Iterator[Request]:
        """Return every request the app is busy with."""
        for connection in list(self.connections):
            yield from connection.under_way()

    def websocket_begun(self, websocket: WebSocket) -> None:
        """The app is asked whether it takes it."""
        self.websockets.add(websocket)
        if self.websocket_table is not None:
            self.websocket_table.begin(websocket, CONNECTING, *described(websocket.scope))

    def websocket_stage(self, websocket: WebSocket, stage: float) -> None:
        """It is open, or is being closed."""
        if self.websocket_table is not None and websocket in self.websockets:
            self.websocket_table.stage(websocket, stage)

    def websocket_ended(self, websocket: WebSocket) -> None:
        """The app has returned. Harmless when called twice."""
        if websocket in self.websockets:
            self.websockets.discard(websocket)
            if self.websocket_table is not None:
                self.websocket_table.end(websocket)

    def opened(self, connection: Connection) -> None:
        self.connections.add(connection)
        self.counters.connection_opened()
        if self.draining:
            self._grant_grace(connection)

    def closed(self, connection: Connection) -> None:
        """Forget the connection. Harmless when called twice, as happens when another protocol takes it over."""
        if connection not in self.connections:
            return
        self.connections.discard(connection)
        self.counters.connection_closed()
        if self.draining:
            self.look_if_drained()

    def replaced(self, old: Connection, new: Connection) -> None:
        """`new` serves the connection from now on; it stays one connection."""
        self.connections.discard(old)
        self.connections.add(new)
        if self.draining:
            new.drain()
            self._grant_grace(new)

    def close_longest_idle(self, most: int) -> int:
        """Close so many of the connections that are idle, the longest idle ones; return how many there were."""
        idle = [(since, one) for one in self.connections if (since := one.idle_since()) is not None]
        chosen = heapq.nsmallest(most, idle, key=lambda pair: pair[0])
        for _, connection in chosen:
            connection.abort()
        return len(chosen)

    def begin_drain(self, reason: DrainReason) -> None:
        """Tell every connection to finish. May be called again to turn a reload's drain into a stop's."""
        if self.farewell and not self.draining:
            self._fresh_until = self.loop.time() + FRESH_GRACE_S
        self.draining = self.farewell = True
        self.reason = reason
        for connection in list(self.connections):
            connection.drain()
        if reason == "stop" and self._grace is None:
            self._grace = self.loop.call_later(IDLE_GRACE_S, self._close_idle, list(self.connections))
        from ..hypercorn.websocket import drain_websockets

        drain_websockets(self)

    def _grant_grace(self, connection: Connection) -> None:
        """Give a connection that came up while stopping, out of the backlog, the time every other one had."""
        if self.reason == "stop":
            self.loop.call_later(IDLE_GRACE_S, self._close_one_idle, connection)

    def _close_one_idle(self, connection: Connection) -> None:
        if connection not in self.connections:
            return
        left = self._fresh_until - self.loop.time()
        if left > 0 and getattr(connection, "requests", None) == 0:
            self.loop.call_later(min(left, IDLE_GRACE_S), self._close_one_idle, connection)
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
        if not self.connections and not self.running:
            return
        future = self.loop.create_future()
        self._drained.append(future)
        await future

    def look_if_drained(self) -> None:
        """Called when a connection or an app has ended while draining."""
        if self.connections or self.running:
            return
        for future in self._drained:
            if not future.done():
                future.set_result(None)
        self._drained.clear()

    def abort(self) -> int:
        """Drop every connection that is left and return how many there were."""
        left = list(self.connections)
        for connection in left:
            connection.abort()
        return len(left)
