"""A connection of HTTP/1 as a line to a client: who that is, and how the bytes flow, in either direction."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, cast

from ..lane.service import Peer
from ..lane.timers import Timers
from ..lane.waiters import Waiters, wait_among, wake
from ..report.requests_table import client_label
from .body import READ_AHEAD, IncomingBody
from .slow_clients import SlowClient

if TYPE_CHECKING:
    from ..accept.proxy_protocol import Announced
    from ..lane.body_budget import BodyBudget
    from ..lane.service import Service
    from ..lane.timers import Timed
    from .slow_clients import Watched

HEAD, BODY, BUSY, REST, LINGER, GONE = range(6)
"""Waiting for a head; reading a body; answering, with the body read; reading the rest of a body whose request has been
answered; closing; closed."""


class Line(asyncio.Protocol):
    """What a connection is apart from its requests. Those that are made of it are Timed and Watched."""

    __slots__ = (
        "__weakref__",
        "_ahead",
        "_body",
        "_logging",
        "_phase",
        "_slow",
        "_turn",
        "_writers",
        "announced",
        "client",
        "label",
        "reading_paused",
        "root_path",
        "scheme",
        "server",
        "service",
        "timers",
        "tls",
        "transport",
        "write_paused",
    )

    transport: asyncio.Transport

    def __init__(self, service: Service) -> None:
        self.service = service
        self.client: tuple[str, int] | None = None
        self.server: tuple[str, int] | None = None
        self.label = b""  # the client as the in-flight table shows it
        self.scheme = "http"
        self.tls: dict[str, Any] | None = None
        self.root_path = service.root_path
        self.announced: Announced | None = None  # by a PROXY header
        self.write_paused = False
        self._writers: Waiters = []
        self._phase = HEAD
        # An incomplete head (HEAD), or later requests (BUSY).
        self._ahead = bytearray()
        self._body: IncomingBody | None = None  # in BODY and REST
        self.timers = Timers(service, cast("Timed", self))
        self.reading_paused = False
        self._turn: asyncio.Handle | None = None  # to read on in the next turn of the loop
        self._logging: set[asyncio.Task[None]] | None = None
        self._slow: SlowClient | None = None

    # The client

    def _meet(self, transport: asyncio.Transport) -> bool:
        """Find out who the client is; tell whether it is still there."""
        client, server = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        if isinstance(client, tuple) and isinstance(server, tuple):
            self.client, self.server = client[:2], server[:2]
        elif transport.get_extra_info("socket").family in (socket.AF_INET, socket.AF_INET6):
            return False
        if self.announced is not None:
            self.client, self.server = self.announced
        if self.client is not None:
            self.label = client_label(self.client)
        ssl_object = transport.get_extra_info("ssl_object")
        if ssl_object is not None:
            self.scheme = "https"
            from ..accept.tls import tls_extension

            self.tls = tls_extension(ssl_object)
        return True

    def _leave(self) -> Peer:
        """Leave the connection to another protocol; return what that needs to know."""
        self._phase = GONE
        if self._slow is not None:
            self._slow.stop()
        self.timers.stop()
        self.resume_reading()
        return Peer(
            self.transport,
            self.client,
            self.server,
            self.scheme,
            self.tls,
            self.label,
            self.root_path,
            self.write_paused,
        )

    def _watched(self) -> SlowClient:
        if self._slow is None:
            self._slow = SlowClient(cast("Watched", self))
        return self._slow

    @property
    def bodies(self) -> BodyBudget | None:
        return self.service.bodies

    def log_later(self, access: Coroutine[Any, Any, None]) -> None:
        """Run an access log call that nobody can wait for."""
        if self._logging is None:
            self._logging = set()
        task = self.service.loop.create_task(access)
        self._logging.add(task)
        task.add_done_callback(self._logging.discard)

    # Writing

    def pause_writing(self) -> None:
        self.write_paused = True
        self._watched().write_begun()

    def resume_writing(self) -> None:
        self.write_paused = False
        if self._slow is not None:
            self._slow.write_done()
        wake(self._writers)

    async def writable(self) -> None:
        """Return when what was written has gone far enough, or the client is gone."""
        while self.write_paused and self._phase != GONE:
            await wait_among(self._writers, self.service.loop)

    # Reading

    def pause_reading(self) -> None:
        if not self.reading_paused and not self.transport.is_closing():
            self.reading_paused = True
            if self._slow is not None:
                self._slow.excused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading if it was paused; the app took what it had been given, and may want more."""
        body = self._body
        if body is not None:
            body.say_continue()
        if self.reading_paused and not self.transport.is_closing() and (body is None or body.may_resume()):
            self.reading_paused = False
            self.transport.resume_reading()
            self.timers.last_read = self.service.loop.time()

    def read_on_later(self) -> None:
        """Go on reading in the next turn of the loop: this one has done enough for one connection."""
        if self._turn is None:
            self._turn = self.service.loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        self._turn = None
        if self._body is not None and not self._body.read_on():
            return
        if self._turn is None and len(self._ahead) <= READ_AHEAD:
            self.resume_reading()
