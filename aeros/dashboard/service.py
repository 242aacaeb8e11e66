"""The dashboard's process: the site in Hypercorn's frame and the fast lane, for as long as the supervisor lives.

Around an upgrade there are two, with one listening socket. The new supervisor's is started with it and accepts once
that one is the server; the old one's is told by SIGTERM to accept no more, and ends when it has answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time

from hypercorn.asyncio.run import worker_serve
from hypercorn.config import Config, Sockets
from hypercorn.utils import wrap_app

from ..core.ipc.channel import Channel
from ..core.ipc.dashboard import CHANNEL_FD, LISTENER_FD, SETTINGS_FD, AdminSettings
from ..errors import AerosError
from ..quart.direct import direct_path
from ..server import Server
from ..titles import Title
from ..worker.accept.acceptor import Acceptor
from ..worker.assembly import make_service
from .door import LIMITS, door
from .history import History
from .route_rates import RouteRates
from .site import make_site
from .source import Source

#: How often the figures are taken for the plots, and the supervisor is looked for.
_SAMPLE_EVERY_S = 1.0
#: How often the supervisor is asked what routes did; workers tell it as often.
_ROUTES_EVERY_S = 2.0
#: When told to end: for kept-alive connections to ask once more and be told so, then for what is still under way.
_FAREWELL_S, _LAST_S = 1.0, 1.0


def main() -> None:
    """Serve until the supervisor is gone. Ends the process."""
    try:
        settings = AdminSettings.from_file(SETTINGS_FD)
        os.close(SETTINGS_FD)
        listener = socket.socket(fileno=LISTENER_FD)
        line = socket.socket(fileno=CHANNEL_FD)
    except (OSError, ValueError, TypeError):
        sys.exit("aeros.dashboard is started by a server that was given --admin")
    Title(settings.proctitle).show("dashboard")
    for end in (listener, line):
        end.set_inheritable(False)
    # Only the supervisor decides, by SIGTERM or SIGKILL.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        source = Source(Server(Channel(line, "the supervisor")))
    except AerosError:
        sys.exit(0)  # it ended while we started
    asyncio.run(_serve(source, settings, listener))
    os._exit(0)


async def _sample(source: Source, history: History, routes: RouteRates) -> None:
    """Take the figures for as long as the supervisor lives, then end the process."""
    routes_at = 0.0
    while source.supervised:
        history.add(await source.status())
        if time.monotonic() >= routes_at:
            routes_at = time.monotonic() + _ROUTES_EVERY_S
            with contextlib.suppress(AerosError):
                routes.take(await source.routes())
        await asyncio.sleep(_SAMPLE_EVERY_S)
    os._exit(0)


async def _serve(source: Source, settings: AdminSettings, listener: socket.socket) -> None:
    history, routes = History(), RouteRates()
    site = make_site(source, history, routes, settings)
    config = Config()
    config.accesslog = None
    config.errorlog = None
    config.include_server_header = False
    # Requests with a token in them are nobody's to read, and a page that left early is no news.
    logging.getLogger("hypercorn").setLevel(logging.CRITICAL)
    # Nor is each write to a client that has gone, of which asyncio warns.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    listener.setblocking(False)

    async def serve() -> None:
        await source.settled()
        # Not before: what the supervisor before counted is added at that moment, and would look like a burst.
        sampling = loop.create_task(_sample(source, history, routes))
        service = make_service(site, config, loop=loop, limits=LIMITS, direct=direct_path)
        connections = service.connections
        factory, has_room = door(service)
        acceptor = Acceptor(
            loop,
            [(listener, False)],
            factory,
            None,
            lambda change: None,
            handshake_timeout_s=0.0,
            on_pause=lambda why: None,
            has_room=has_room,
        )
        acceptor.start()
        await told_to_end.wait()
        source.retiring = True
        acceptor.stop()
        await acceptor.settled()
        connections.begin_drain("reload")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(connections.drained(), _FAREWELL_S)
        connections.begin_drain("stop")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(connections.drained(), _LAST_S)
        sampling.cancel()
        os._exit(0)

    loop, told_to_end = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, told_to_end.set)
    await worker_serve(
        wrap_app(site, config.wsgi_max_body_size, "asgi"),
        config,
        sockets=Sockets([], [], []),
        shutdown_trigger=serve,
    )
