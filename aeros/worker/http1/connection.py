"""The fast lane: HTTP/1.1 and 1.0 read by llhttp in an asyncio Protocol, without tasks or queues of its own.

A connection is in one phase at a time and serves one request at a time; what a client sends ahead of its turn waits
in a bounded buffer. The app runs in one task per request. What turns out to be HTTP/2 or a WebSocket goes on as that
(service.Protocols), with the bytes read so far.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from ...core.shared.requests_table import HANDLING, READING
from ..lane.exchange import Exchange
from ..lane.mount import mounted
from .body import READ_AHEAD, IncomingBody
from .ending import EndingLine
from .exchange import HTTP1ASGIExchange, HTTP1Exchange
from .heads import has_begun, next_head
from .line import BODY, BUSY, GONE, HEAD, LINGER, REST
from .parser import PREFACE, HeadParser, RequestRefused

if TYPE_CHECKING:
    from ..lane.head import Head
    from ..lane.service import Service

FULL_READ = 1 << 16
"""After a read of so many bytes others have their turn: libuv would read 32 times 256 KiB in a row."""


class HTTP1Connection(EndingLine):
    """One client connection of the fast lane."""

    __slots__ = ("_parser", "requests")

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self.requests = 0
        limits = service.limits
        self._parser = HeadParser(
            service.config.h11_pass_raw_headers, limits.request_line_bytes, limits.request_fields, service.first_heads
        )

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.service.connections.opened(self)
        if not self._meet(self.transport):
            self.abort()
        elif self.tls is not None and transport.get_extra_info("ssl_object").selected_alpn_protocol() == "h2":
            self._become_http2(b"")
        else:
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

    # Heads

    def _read_head(self, data: bytes) -> None:
        service = self.service
        try:
            found = next_head(self._ahead, data, service)
            if found is None:
                if has_begun(self._ahead):
                    self._watched().head_begun()
                return
            if self._slow is not None:
                self._slow.head_done()
            raw, rest = found
            # Over TLS it is ALPN that says which protocol it is, from the first byte (RFC 7301 section 3.2).
            if raw == PREFACE and not self.requests and service.http2 and self.tls is None:
                self._become_http2(raw + rest)
                return
            head = self._parser.parse(raw)
        except RequestRefused as error:
            self.refuse(error.status)
            return
        if head.upgrade:
            self._upgrade(head, rest)
        else:
            self._begin(head, rest)

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

    def _upgrade(self, head: Head, rest: bytes) -> None:
        """Go on as a WebSocket, if the client may have one."""
        service = self.service
        service.protocols.websocket(service, self._leave(), self, head, rest)

    def _become_http2(self, data: bytes) -> None:
        service = self.service
        service.protocols.http2(service, self._leave(), self, data)

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

    # What comes after a response

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
