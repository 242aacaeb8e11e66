"""The fast lane: HTTP/1.1 and 1.0 read by llhttp in an asyncio Protocol, without tasks or queues of its own.

A connection is in one phase at a time and serves one request at a time; what a client sends ahead of its turn waits
in a bounded buffer. The app runs in one task per request. What turns out to be HTTP/2 or a WebSocket goes on as that
(service.Protocols), with the bytes read so far.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Coroutine, Iterable
from typing import TYPE_CHECKING, Any, cast

from ...core.shared.requests_table import HANDLING, READING
from ..lane.exchange import REQUEST, Exchange
from ..lane.mount import mounted
from ..lane.service import Peer
from ..lane.timers import Timers
from ..lane.waiters import Waiters, wait_among, wake
from ..report.requests_table import client_label
from .body import READ_AHEAD, IncomingBody
from .exchange import HTTP1ASGIExchange, HTTP1Exchange
from .leftover import LINGER_S, Leftover
from .parser import PREFACE, HeadParser, RequestRefused, refuses_early
from .response import error_response
from .slow_clients import SlowClient

if TYPE_CHECKING:
    from ..accept.proxy_protocol import Announced
    from ..lane.body_budget import BodyBudget
    from ..lane.head import Head
    from ..lane.service import Service
    from ..report.requests_table import Request

FULL_READ = 1 << 16
"""After a read of so many bytes others have their turn: libuv would read 32 times 256 KiB in a row."""

EOF_GRACE_S = 0.02
"""How long a request whose client closed its sending side may still be answered before it is cancelled.

Hypercorn needs a few turns of the loop to notice; a client that half-closes (`nc -N`) gets quick answers there.
"""

HEAD, BODY, BUSY, REST, LINGER, GONE = range(6)
"""Waiting for a head; reading a body; answering, with the body read; reading the rest of a body whose request has been
answered; closing; closed."""


_EMPTY_LINES = re.compile(rb"\A(?:\r\n)+")


class HTTP1Connection(asyncio.Protocol):
    """One client connection of the fast lane."""

    __slots__ = (
        "__weakref__",
        "_ahead",
        "_body",
        "_eof",
        "_exchange",
        "_leftover",
        "_logging",
        "_parser",
        "_phase",
        "_pipelines",
        "_slow",
        "_turn",
        "_writers",
        "announced",
        "client",
        "label",
        "reading_paused",
        "requests",
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
        self.requests = 0
        self.write_paused = False
        self._writers: Waiters = []
        self._phase = HEAD
        # An incomplete head (HEAD), or later requests (BUSY).
        self._ahead = bytearray()
        limits = service.limits
        self._parser = HeadParser(
            service.config.h11_pass_raw_headers, limits.request_line_bytes, limits.request_fields, service.first_heads
        )
        self._exchange: HTTP1Exchange | None = None
        self._body: IncomingBody | None = None  # in BODY and REST
        self._leftover: Leftover | None = None  # counts what is dropped, in LINGER
        self.timers = Timers(service, self)
        self._pipelines = False  # the client has sent a request before it had the answer to the one before
        self._eof = False
        self.reading_paused = False
        self._turn: asyncio.Handle | None = None  # to read on in the next turn of the loop
        self._logging: set[asyncio.Task[None]] | None = None
        self._slow: SlowClient | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        service = self.service
        service.connections.opened(self)
        client, server = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        if isinstance(client, tuple) and isinstance(server, tuple):
            self.client, self.server = client[:2], server[:2]
        elif transport.get_extra_info("socket").family in (socket.AF_INET, socket.AF_INET6):  # gone already
            self.abort()
            return
        if self.announced is not None:
            self.client, self.server = self.announced
        if self.client is not None:
            self.label = client_label(self.client)
        ssl_object = transport.get_extra_info("ssl_object")
        if ssl_object is not None:
            self.scheme = "https"
            from ..accept.tls import tls_extension

            self.tls = tls_extension(ssl_object)
            if ssl_object.selected_alpn_protocol() == "h2":
                self._become_http2(b"")
                return
        self.timers.start()

    def data_received(self, data: bytes) -> None:
        service = self.service
        if service.read_timeout is not None:
            self.timers.last_read = service.loop.time()
        phase = self._phase
        if phase == HEAD:
            self._read_head(data)
        elif (body := self._body) is not None:  # BODY or REST
            body.receive(data)
            if len(data) >= FULL_READ and not self.reading_paused and not body.landing:
                self.pause_reading()
                self.read_on_later()
        elif phase == BUSY:
            self._ahead += data
            self._pipelines = True
            if len(self._ahead) > READ_AHEAD:
                self.pause_reading()
        elif self._leftover is not None:
            self._leftover.drop(len(data))

    def eof_received(self) -> bool:
        """Return whether to leave the sending side open, which TLS cannot."""
        while (body := self._body) is not None and body.waits:
            body.read_ahead()
        phase = self._phase
        exchange = self._exchange
        if (phase == HEAD and self._ahead) or phase == BODY:
            self.refuse(400)
        elif phase == BUSY and exchange is not None:
            self._eof = True
            if self.transport.get_extra_info("ssl_object") is not None:
                exchange.disconnect()
                return False
            self._after_eof()
            return True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._phase = GONE
        self.timers.stop()
        if self._slow is not None:
            self._slow.stop()
        if self._leftover is not None:
            self._leftover.stop()
        if self._body is not None:
            self._body.stop()
            self._body = None
        if self._exchange is not None:
            self._exchange.disconnect()
        self.resume_writing()
        self.service.connections.closed(self)

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

    # Draining (connections.Connection)

    def drain(self) -> None:
        """Nothing to say yet: the next response carries `Connection: close`."""

    def close_idle(self) -> None:
        if self._phase == HEAD:
            self._close()
        elif self._phase == REST:
            self.close_slowly()

    def idle_since(self) -> float | None:
        return self.timers.idle_since if self._phase == HEAD and not self._ahead else None

    def abort(self) -> None:
        self.transport.abort()
        if self._exchange is not None:
            self._exchange.disconnect()
            self._exchange.cancel()

    def under_way(self) -> Iterable[Request]:
        return () if self._exchange is None else (self._exchange,)

    # Reading

    def _read_head(self, data: bytes) -> None:
        ahead = self._ahead
        if data[0] == 0x0D or (ahead and ahead[0] == 0x0D):
            # Empty lines before a request (RFC 9112 section 2.2). They do not move the idle time.
            data = _EMPTY_LINES.sub(b"", bytes(ahead) + data, 1)
            ahead.clear()
            if data in (b"", b"\r"):
                ahead += data
                return
        if ahead:
            start = len(ahead)
            ahead += data
            end = ahead.find(b"\r\n\r\n", max(0, start - 3))
            if end >= 0:
                data = bytes(ahead)
                ahead.clear()
                if self._slow is not None:
                    self._slow.head_done()
        else:
            start = 0
            end = data.find(b"\r\n\r\n")
            if end < 0:
                ahead += data
        service = self.service
        if end < 0:
            if (
                len(ahead) > service.limits.request_line_bytes
                and b"\n" not in ahead[: service.limits.request_line_bytes + 2]
            ):
                self.refuse(414)
            elif len(ahead) > service.incomplete_size:
                self.refuse(431)
            elif refuses_early(ahead, start):
                self.refuse(400)
            else:
                self._watched().head_begun()
            return
        end += 4
        if end > service.incomplete_size:
            self.refuse(431)
            return
        size = len(data)
        raw = data if size == end else data[:end]
        # Over TLS it is ALPN that says which protocol it is, from the first byte (RFC 7301 section 3.2).
        if raw == PREFACE and not self.requests and service.http2 and self.tls is None:
            self._become_http2(data)
            return
        try:
            head = self._parser.parse(raw)
        except RequestRefused as error:
            self.refuse(error.status)
            return
        if head.upgrade:
            self._upgrade(head, data[end:])
            return
        self._begin(head, data[end:] if size != end else b"")

    def _begin(self, head: Head, rest: bytes) -> None:
        service = self.service
        self.requests += 1
        if service.request_ids:
            from ..lane.request_ids import identified

            head = identified(head)
        if self.root_path:
            head = mounted(head, self.root_path)
        service.counters.request_started()
        direct = service.direct
        usable = direct is not None and direct.usable()
        exchange: HTTP1Exchange = direct.exchange(self, head) if usable else HTTP1ASGIExchange(self, head)  # type: ignore[union-attr]
        self._exchange = exchange
        if service.table is not None:
            stage = READING if head.has_body else HANDLING
            service.table.begin(exchange, stage, head.raw_method, head.raw_path, self.label)
        if not head.has_body:
            self._phase = BUSY
            exchange.end_of_body()
        else:
            self._phase = BODY
            self._body = IncomingBody(self, exchange)
        limit = service.limits.body_bytes
        if service.server_names and head.host.decode("latin1") not in service.server_names:
            exchange.refuse(404)
        elif limit is not None and head.content_length > limit:
            exchange.refuse(413)
        elif service.overload is None:
            service.connections.running += 1  # run() takes it back
            exchange.task = service.loop.create_task(exchange.run())
        else:
            service.overload.begin(exchange)
        if rest:
            self.data_received(rest)
        if self._phase == BODY and service.limits.min_data_rate is not None:
            self._watched().body_begun(exchange)

    # The body

    def body_done(self, rest: bytes) -> None:
        """All of it has come. rest: what stands behind it."""
        exchange = cast(HTTP1Exchange, self._exchange)
        self._phase = BUSY
        self._body = None
        if self._slow is not None:
            self._slow.body_done()
        if self.service.table is not None:
            self.service.table.stage(exchange, HANDLING)
        exchange.end_of_body()
        if rest:
            self.data_received(rest)

    def is_last(self, status: int) -> bool:
        """Tell, as the head of a response is made, whether it must say that the connection ends behind it."""
        return self._phase == BODY and cast(IncomingBody, self._body).is_last(status)

    def _drop_rest(self, ends: bool) -> None:
        """Read the rest of a body whose request is answered, and drop it. ends: then the connection ends."""
        if self._slow is not None:
            self._slow.body_done()
        self._phase = REST
        cast(IncomingBody, self._body).drop(ends)
        self.resume_reading()

    def rest_done(self, rest: bytes) -> None:
        """All of a body that was dropped has come."""
        self._body = None
        self._phase = HEAD
        self.timers.idle_since = self.service.loop.time()
        if rest:
            self._read_head(rest)

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

    # The ends of things

    def response_done(self, exchange: Exchange) -> None:
        """The exchange's response is complete, or as complete as it will get."""
        if self._exchange is not exchange:
            return
        self._exchange = None
        if self._phase in (LINGER, GONE):
            return
        ends = not exchange.keep_alive or self.service.connections.closing
        if self._phase == BODY:
            self._drop_rest(ends)
            return
        if ends:
            self._close(linger=self._pipelines)
            return
        self._phase = HEAD
        self.timers.idle_since = self.service.loop.time()
        if self._ahead:
            data = bytes(self._ahead)
            self._ahead.clear()
            self.resume_reading()
            self._read_head(data)
        if self._eof:
            self._after_eof()

    def break_off(self) -> None:
        """End the connection within a response, unless it is ending already."""
        if self._phase in (LINGER, GONE):
            return
        # TLS has no half of an end: there the client would wait for the response until it has sent all of its request.
        self._close(linger=self.transport.can_write_eof() and (self._phase == BODY or self._pipelines))

    def _after_eof(self) -> None:
        """See the requests through that came before the client closed its sending side."""
        if self._exchange is None or self._phase == BODY:
            self._close()
        elif not self._ahead:
            self.service.loop.call_later(EOF_GRACE_S, self._give_up_on, self._exchange)

    def refuse(self, status: int) -> None:
        """Answer what cannot be read as a request, as far as an answer is still possible, and close."""
        exchange = self._exchange
        if exchange is None:
            self.transport.write(error_response(status, self.service.common.block()))
        else:
            if exchange.state is REQUEST:
                exchange.status = status
                keep_alive = exchange.head.keep_alive
                self.transport.write(error_response(status, self.service.common.block(), keep_alive))
            exchange.disconnect()
        self.close_slowly()

    def _give_up_on(self, exchange: Exchange) -> None:
        if self._exchange is exchange:
            exchange.disconnect()

    def close_slowly(self) -> None:
        """Close; what the client still sends is read and dropped for a while."""
        self._close(linger=True)

    def _close(self, linger: bool = False) -> None:
        self._ahead.clear()
        halves = self.transport.can_write_eof()
        lingers = linger and self._phase != LINGER and not self._eof and (halves or self._phase == BODY)
        self._phase = LINGER
        if self._body is not None:
            self._body.close()
            self._body = None
        if lingers:
            if halves:
                self.transport.write_eof()
            service = self.service
            self._leftover = Leftover(service.loop, service.limits.min_data_rate, LINGER_S, self.transport.abort)
            self.resume_reading()
            return
        if self._leftover is not None:
            self._leftover.stop()
        self.transport.close()
        # A peer that reads nothing would keep what is left to write, and the connection, for ever.
        if self.write_paused:
            self.service.loop.call_later(LINGER_S, self.transport.abort)
        elif self.transport.get_write_buffer_size():
            self._watched().write_begun()

    # Slow clients and long requests

    def _watched(self) -> SlowClient:
        if self._slow is None:
            self._slow = SlowClient(self)
        return self._slow

    @property
    def bodies(self) -> BodyBudget | None:
        return self.service.bodies

    def reads_body_of(self, exchange: Exchange) -> bool:
        return self._exchange is exchange and self._phase == BODY

    def head_late(self) -> None:
        """The rest of a head did not come in time."""
        if self._phase == HEAD and self._ahead:
            self.refuse(408)

    def body_late(self) -> None:
        """The body comes too slowly."""
        exchange = self._exchange
        self.refuse(408)
        if exchange is not None:
            exchange.stop()

    def expire(self, exchange: Exchange, status: int = 504) -> None:
        """Answer with the status where nothing of a response was sent, else the connection ends there."""
        if self._exchange is exchange:
            if exchange.state is REQUEST:
                self.refuse(status)
            else:
                exchange.disconnect()
                self.transport.abort()  # an orderly end could pass for the end of the body
        exchange.stop()

    def _upgrade(self, head: Head, rest: bytes) -> None:
        """Go on as a WebSocket, if the client may have one."""
        service = self.service
        service.protocols.websocket(service, self._leave(), self, head, rest)

    def _become_http2(self, data: bytes) -> None:
        service = self.service
        service.protocols.http2(service, self._leave(), self, data)

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

    # timers.Timed

    def is_idle(self) -> bool:
        return self._phase == HEAD

    def is_due(self) -> bool:
        return self._phase in (HEAD, BODY, REST) and not self.reading_paused

    def idle_too_long(self) -> None:
        self._close()

    def read_too_late(self) -> None:
        if self._exchange is not None:
            self._exchange.disconnect()
        self._close()

    def log_later(self, access: Coroutine[Any, Any, None]) -> None:
        """Run an access log call that nobody can wait for."""
        if self._logging is None:
            self._logging = set()
        task = self.service.loop.create_task(access)
        self._logging.add(task)
        task.add_done_callback(self._logging.discard)
