"""The dashboard's process: Hypercorn's serve loop around the site, for as long as the supervisor lives."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys

from hypercorn.asyncio.run import worker_serve
from hypercorn.config import Config, Sockets
from hypercorn.utils import wrap_app

from ..core.admin import CHANNEL_FD, LISTENER_FD, SETTINGS_FD, AdminSettings
from ..core.channel import Channel
from ..errors import AerosError
from ..server import Server
from ..titles import Title
from .history import History
from .site import make_site
from .source import Source

#: How often the figures are taken for the plots, and the supervisor is looked for.
_SAMPLE_EVERY_S = 1.0


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
    # Only the supervisor decides; it kills.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        source = Source(Server(Channel(line, "the supervisor")), settings)
    except AerosError:
        sys.exit(0)  # it ended while we started
    asyncio.run(_serve(source, settings, listener))
    os._exit(0)


async def _serve(source: Source, settings: AdminSettings, listener: socket.socket) -> None:
    history = History()
    site = make_site(source, history, settings)
    config = Config()
    config.accesslog = None
    config.errorlog = None
    config.include_server_header = False
    config.graceful_timeout = 0.1
    # Requests with a token in them are nobody's to read, and a page that left early is no news.
    logging.getLogger("hypercorn").setLevel(logging.CRITICAL)
    # Nor is each write to a client that has gone, of which asyncio warns.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    listener.setblocking(False)

    async def until_orphaned() -> None:
        while source.supervised:
            history.add(await source.status())
            await asyncio.sleep(_SAMPLE_EVERY_S)
        os._exit(0)

    await worker_serve(
        wrap_app(site, config.wsgi_max_body_size, "asgi"),
        config,
        sockets=Sockets([], [listener], []),
        shutdown_trigger=until_orphaned,
    )
