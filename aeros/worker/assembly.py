"""Puts together what serves the connections of one process: here alone the protocols know of each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from hypercorn.config import Config

from .http1.connection import HTTP1Connection
from .http1.response import CommonHeaders
from .http2 import connection as http2
from .http2.hpack_encoder import CommonFields
from .lane.body_budget import BodyBudget
from .lane.connections import Connections
from .lane.counters import Counters, NullCounters
from .lane.limits import Limits
from .lane.service import DirectPath, Protocols, Service
from .websocket.asgi import take_over as take_over_websocket

if TYPE_CHECKING:
    from .lane.forwarded import Forwarded
    from .lane.overload import Overload
    from .report.requests_table import InFlightTable

#: That bodies find no room is logged once in this time.
_TELL_EVERY_S = 60.0


def make_service(
    app: Any,
    config: Config,
    *,
    loop: asyncio.AbstractEventLoop,
    direct: Callable[[Any], DirectPath | None] = lambda app: None,
    counters: Counters | None = None,
    table: InFlightTable | None = None,
    websocket_table: InFlightTable | None = None,
    limits: Limits | None = None,
    forwarded: Forwarded | None = None,
    request_ids: bool = False,
) -> Service:
    """Return what the connections to `app` share; see Service.

    direct: returns the way into the app without ASGI messages, if there is one. websocket_table: where WebSockets under
    way are shown, None for nowhere.
    """
    counters = NullCounters() if counters is None else counters
    limits = Limits() if limits is None else limits
    connections = Connections(loop, counters, websocket_table)
    return Service(
        app,
        config,
        connections,
        loop=loop,
        counters=counters,
        limits=limits,
        protocols=Protocols(partial(http2.take_over, CommonFields(config)), take_over_websocket),
        common=CommonHeaders(config),
        direct=direct(app),
        table=table,
        forwarded=forwarded,
        request_ids=request_ids,
        bodies=_body_budget(limits, loop, config),
        overload=_overload(limits, loop, connections),
    )


def http1_factory(service: Service) -> Callable[[], HTTP1Connection]:
    """Return the factory for `loop.connect_accepted_socket` or `loop.create_server`."""
    forwarded = service.forwarded
    if forwarded is not None:
        from .http1.forwarded import ForwardedConnection

        return lambda: ForwardedConnection(service, forwarded)
    return lambda: HTTP1Connection(service)


def _body_budget(limits: Limits, loop: asyncio.AbstractEventLoop, config: Config) -> BodyBudget | None:
    memory = limits.body_memory_bytes
    if memory is None:
        return None
    text = f"a request got 503 or a WebSocket code 1013: handlers have {memory >> 20} MiB already (--body-memory)"
    quiet_until = 0.0
    telling: set[asyncio.Task[None]] = set()

    def turned_away() -> None:
        nonlocal quiet_until
        now = loop.time()
        if now >= quiet_until:
            quiet_until = now + _TELL_EVERY_S
            task = loop.create_task(config.log.warning(text))
            telling.add(task)
            task.add_done_callback(telling.discard)

    return BodyBudget(memory, loop, turned_away)


def _overload(limits: Limits, loop: asyncio.AbstractEventLoop, connections: Connections) -> Overload | None:
    if limits.queue_timeout_s is not None:
        from .lane.shedding import Shedding

        return Shedding(loop, limits, connections, limits.queue_timeout_s)
    if limits.concurrency is not None or limits.request_timeout_s is not None:
        from .lane.overload import Overload

        return Overload(loop, limits, connections)
    return None
