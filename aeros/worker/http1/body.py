"""The body of a request as it comes in: read for the app, or, once the request is answered, read and dropped."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Protocol, cast

from .chunks import ChunkedReader
from .large_body import LANDING_MIN, BodyReader
from .leftover import DROP_MAX, REST_WINDOW_S, Leftover
from .parser import RequestRefused
from .response import continue_response

if TYPE_CHECKING:
    from ..lane.service import Service
    from ..lane.timers import Timers
    from .exchange import HTTP1Exchange

READ_AHEAD = 1 << 16
"""Bytes of a body its app does not read, or of later requests, that are kept before reading pauses.

One read more may arrive on top: 256 KiB with either loop.
"""


class Source(Protocol):
    """The connection that a body comes from. It is an asyncio.Protocol as well."""

    service: Service
    timers: Timers
    transport: asyncio.Transport
    tls: dict[str, Any] | None

    @property
    def reading_paused(self) -> bool: ...

    def pause_reading(self) -> None: ...

    def read_on_later(self) -> None:
        """Call `read_on` in the next turn of the loop."""

    def body_done(self, rest: bytes) -> None:
        """All of the body has come. rest: what stands behind it."""

    def rest_done(self, rest: bytes) -> None:
        """All of a body that is dropped has come."""

    def refuse(self, status: int) -> None:
        """Answer what cannot be read, as far as that is still possible, and close."""

    def close_slowly(self) -> None:
        """Close; what the client still sends is read and dropped for a while."""


class IncomingBody:
    """The body of one request, from its head to its last byte. expects: the client waits for a 100 before it sends it.

    landing: a BodyReader stands in for the connection.
    """

    __slots__ = (
        "_ahead",
        "_chunked",
        "_connection",
        "_ends",
        "_exchange",
        "_leftover",
        "_remaining",
        "expects",
        "landing",
    )

    def __init__(self, connection: Source, exchange: HTTP1Exchange) -> None:
        head = exchange.head
        self._connection = connection
        self._exchange = exchange
        self._chunked = ChunkedReader(connection.service.incomplete_size) if head.chunked else None
        self._remaining = head.content_length
        self._ahead = bytearray()  # what is for the next turn
        self._leftover: Leftover | None = None  # counts what is dropped, once the request is answered
        self._ends = False  # then the connection ends when the rest has been read
        self.expects = head.expect_continue
        self.landing = False

    def receive(self, data: bytes) -> None:
        """Take what was read from the client."""
        if self._ahead:
            self._ahead += data  # it was on its way already
        else:
            self._read(data)

    def _read(self, data: bytes) -> None:
        if self._leftover is None:
            self._read_wanted(data)
        else:
            self._read_rest(data, self._leftover)

    def _split(self, data: bytes) -> tuple[bytes, bytes, bool]:
        """Return (what of the data is body, what stands behind it, whether that is its end). Raises RequestRefused."""
        if self._chunked is not None:
            data, rest = self._chunked.feed(data)
            if rest and not self._chunked.complete:
                self._ahead += rest
                rest = b""
                self._connection.pause_reading()
                self._connection.read_on_later()
            return data, rest, self._chunked.complete
        rest = b""
        remaining = self._remaining
        if len(data) > remaining:
            rest = data[remaining:]
            data = data[:remaining]
        self._remaining = remaining = remaining - len(data)
        return data, rest, not remaining

    def _read_wanted(self, data: bytes) -> None:
        connection, exchange = self._connection, self._exchange
        try:
            data, rest, complete = self._split(data)
        except RequestRefused as error:
            connection.refuse(error.status)
            return
        if data:
            self.expects = False
            exchange.feed(data)
            limit = connection.service.limits.body_bytes
            # A counted body was measured by its header; bytes_in has the head in it as well.
            if limit is not None and exchange.bytes_in - exchange.head.size > limit:
                connection.refuse(413)
                return
        if complete:
            connection.body_done(rest)
        elif exchange.buffered() > READ_AHEAD:
            connection.pause_reading()
        elif len(data) >= LANDING_MIN and self._remaining >= LANDING_MIN:
            # Small pieces mean a slow line, whose copies are nobody's concern.
            self._land()

    # What waits for the next turn of the loop

    @property
    def waits(self) -> bool:
        return bool(self._ahead)

    def read_ahead(self) -> None:
        """Read what waits."""
        data = bytes(self._ahead)
        self._ahead.clear()
        self._read(data)

    def read_on(self) -> bool:
        """Read what waits, if the app has room; tell whether it had."""
        if self._leftover is None and self._exchange.buffered() > READ_AHEAD:
            return False  # until the app takes some
        if self._ahead:
            self.read_ahead()
        return True

    def say_continue(self) -> None:
        """The app wants the body: tell a client that waits for that."""
        if self.expects:
            self.expects = False
            connection = self._connection
            connection.transport.write(continue_response(connection.service.common.block()))

    def may_resume(self) -> bool:
        """Tell whether more may be read now, and not in the next turn. Reading is paused."""
        if self._ahead:
            self._connection.read_on_later()
            return False
        if self._remaining >= LANDING_MIN and self._leftover is None:
            self._land()
        return True

    # Large bodies

    def _land(self) -> None:
        """Have the rest of a counted body read to where it stays, if the app wants all of it. See large_body."""
        connection = self._connection
        if connection.tls is None and (room := self._exchange.room(self._remaining)) is not None:
            self.landing = True
            self._change_protocol(BodyReader(cast(asyncio.Protocol, connection), room, self._landed))

    def _landed(self, count: int) -> None:
        """The reader has read so many bytes, as many as are left at most."""
        connection, exchange = self._connection, self._exchange
        if connection.service.read_timeout is not None:
            connection.timers.last_read = connection.service.loop.time()
        exchange.landed(count)
        self._remaining -= count
        if not self._remaining:
            self._end_landing()
            connection.body_done(b"")
        elif exchange.buffered() > READ_AHEAD:
            connection.pause_reading()

    def _end_landing(self) -> None:
        self.landing = False
        if not self._connection.transport.is_closing():
            self._change_protocol(cast(asyncio.Protocol, self._connection))

    def _change_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        # uvloop looks at what kind of protocol it reads for only when it begins to read.
        transport = self._connection.transport
        if self._connection.reading_paused:
            transport.set_protocol(protocol)
            return
        transport.pause_reading()
        transport.set_protocol(protocol)
        transport.resume_reading()

    # What is left of a body whose request is answered

    def is_last(self, status: int) -> bool:
        """Tell, as the head of a response is made, whether it must say that the connection ends behind it.

        More of its request may be left than will be dropped, and then nobody would find the next one. Of a chunked
        body nobody knows how much is left: it is read to its end. A client that was not told to send its body may send
        it or not (RFC 9110 section 10.1.1). A 408 says that the rest does not come.
        """
        untold, self.expects = self.expects, False
        return untold or self._remaining > DROP_MAX or status == 408

    def drop(self, ends: bool) -> None:
        """Drop what comes from now on. ends: then the connection ends."""
        if self.landing:
            self._end_landing()
        self.expects = False
        self._ends = ends
        service, transport = self._connection.service, self._connection.transport
        if ends and transport.can_write_eof():
            transport.write_eof()  # the client need not wait until it has sent all
        # What ends has been announced. What does not is read to its end: of a counted body that is at most DROP_MAX.
        most = DROP_MAX if ends else math.inf
        self._leftover = Leftover(service.loop, service.limits.min_data_rate, REST_WINDOW_S, transport.abort, most)

    def _read_rest(self, data: bytes, leftover: Leftover) -> None:
        connection = self._connection
        size = len(data)
        try:
            _, rest, complete = self._split(data)
        except RequestRefused:
            connection.close_slowly()  # its answer has been sent
            return
        leftover.drop(size - len(self._ahead))
        if not complete:
            return
        if self._ends or connection.service.connections.closing:
            connection.close_slowly()
            return
        leftover.stop()
        connection.rest_done(rest)

    def stop(self) -> None:
        """The connection is gone."""
        if self._leftover is not None:
            self._leftover.stop()

    def close(self) -> None:
        """The connection is about to end, and nothing more of the body is read."""
        self._ahead.clear()
        if self.landing:
            self._end_landing()
        self.stop()
