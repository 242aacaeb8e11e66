"""What all connections of one worker share: facts that stay as they are while it runs."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from hypercorn.config import Config

from ..report.access_log import Access, access_logger
from ..report.route_figures import RouteFigures

if TYPE_CHECKING:
    from ..report.requests_table import InFlightTable
    from .body_budget import BodyBudget
    from .connections import Connection, Connections
    from .counters import Counters
    from .forwarded import Forwarded
    from .head import Head
    from .limits import Limits
    from .overload import Overload


class Peer(NamedTuple):
    """What is known of a connection when another protocol takes it over.

    label: the client as the in-flight table shows it. write_paused: more was written than the client has taken.
    """

    transport: asyncio.Transport
    client: tuple[str, int] | None
    server: tuple[str, int] | None
    scheme: str
    tls: dict[str, Any] | None
    label: bytes
    root_path: str
    write_paused: bool


class Protocols(NamedTuple):
    """What a connection of HTTP/1.1 may go on as. Each serves it from then on, in the place of the one that calls."""

    http2: Callable[[Service, Peer, Connection, bytes], None]
    """The last argument: what the client sent that was not read yet."""
    websocket: Callable[[Service, Peer, Connection, Head, bytes], None]
    """The request that asks for it, and what the client sent behind it."""


class DirectPath(Protocol):
    """A way into the app without ASGI messages. It may be closed at any time, so it is asked before each use."""

    def usable(self) -> bool: ...

    def exchange(self, carrier: Any, head: Head) -> Any:
        """Return the exchange of a request of HTTP/1."""

    def stream_exchange(self, carrier: Any, head: Head) -> Any:
        """Return the exchange of a request of HTTP/2."""

    def websockets_usable(self) -> bool: ...

    async def websocket(self, session: Any) -> None:
        """Have the app serve a WebSocket; returns when it has. Exceptions are the app's."""


class CommonHeaders(Protocol):
    """The response headers that the server sends by itself."""

    def block(self) -> bytes: ...


class Service:
    """Made after the fork, on the worker's loop.

    app: the ASGI app. config: Hypercorn's, complete. common: as bytes of HTTP/1. direct: None where the app is served
    by ASGI messages. table: where the requests under way are shown, None for nowhere. request_ids: give each request
    an X-Request-ID, and send it back. forwarded: reads what trusted proxies say of their clients; None where none is
    trusted. bodies, overload: None without a limit.
    """

    __slots__ = (
        "access",
        "app",
        "bodies",
        "common",
        "config",
        "connections",
        "counters",
        "direct",
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
        "notes_routes",
        "overload",
        "protocols",
        "read_timeout",
        "request_ids",
        "root_path",
        "routes",
        "server_names",
        "state",
        "table",
    )

    def __init__(
        self,
        app: Any,
        config: Config,
        connections: Connections,
        *,
        loop: asyncio.AbstractEventLoop,
        counters: Counters,
        limits: Limits,
        protocols: Protocols,
        common: CommonHeaders,
        direct: DirectPath | None,
        table: InFlightTable | None,
        forwarded: Forwarded | None,
        request_ids: bool,
        bodies: BodyBudget | None,
        overload: Overload | None,
    ) -> None:
        self.app = app
        self.config = config
        self.connections = connections
        self.loop = loop
        self.counters = counters
        self.limits = limits
        self.protocols = protocols
        self.common = common
        self.direct = direct
        self.table = table
        self.forwarded = forwarded
        self.request_ids = request_ids
        self.bodies = bodies
        self.overload = overload
        #: Of the lifespan, which fills it.
        self.state: dict[str, Any] = {}
        self.first_heads: dict[bytes, Head] = {}  # see HeadParser
        #: Whether `writelines` may be used: that of asyncio in CPython 3.12.0 to 3.13.1 forgets to pause who writes.
        self.gathers = type(loop).__module__.startswith("uvloop")
        # Read once: none of these can change while a worker runs, and each is a look-up per request otherwise.
        self.access: Access | None = access_logger(config)
        #: Whether somebody wants to know which rule a request has met.
        self.notes_routes = self.access is not None
        #: Where requests are counted by route; None for nowhere.
        self.routes: RouteFigures | None = None
        self.incomplete_size: int = config.h11_max_incomplete_size
        self.keep_alive_max_requests: int = config.keep_alive_max_requests
        # Over HTTP/2 a connection's end loses requests in clients that do not send again what a GOAWAY has excluded.
        asked = config.keep_alive_max_requests != Config.keep_alive_max_requests
        self.max_streams: float = config.keep_alive_max_requests if asked else math.inf
        self.keep_alive_timeout: float = config.keep_alive_timeout
        self.read_timeout: float | None = config.read_timeout
        self.root_path: str = config.root_path
        self.server_names: list[str] = config.server_names
        self.http2 = "h2" in config.alpn_protocols

    def count_routes(self, figures: RouteFigures) -> None:
        """Count requests by route from now on."""
        self.routes = figures
        self.notes_routes = True
