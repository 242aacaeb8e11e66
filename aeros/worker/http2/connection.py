"""HTTP/2 in the fast lane (RFC 9113): one connection, its frames read in one pass, its requests run like HTTP/1's.

Nothing here waits: frames are answered as they are read, each request has one task, and what it writes is gathered
(http2_output). A client that breaks the rules loses the stream, or the connection, with the code the RFC names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

from ...core.shared.requests_table import HANDLING, READING
from ..http1.parser import RequestRefused
from ..lane.exchange import Exchange
from ..lane.mount import mounted
from .control import HANDLERS
from .departure import Departure
from .exchange import HTTP2ASGIExchange, HTTP2Exchange
from .flood_guard import Allowance
from .frames import (
    CONTINUATION,
    DATA,
    ENABLE_CONNECT_PROTOCOL,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_HEAD,
    FRAME_SIZE_ERROR,
    HAS_PRIORITY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
    NO_ERROR,
    PADDED,
    PREFACE,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    STREAM_CLOSED,
    UNKNOWN,
    ConnectionFault,
    StreamFault,
    goaway,
    rst_stream,
    settings,
    unpadded,
    window_update,
)
from .hpack_decoder import Decoder, FieldsTooLargeError
from .hpack_encoder import response_block
from .output import Output
from .request import HTTP2Head, check_trailers, request_head
from .stream import WINDOW, Stream

if TYPE_CHECKING:
    from ..http1.connection import HTTP1Connection
    from ..lane.body_budget import BodyBudget
    from ..report.requests_table import Request
    from .slow_clients import SlowStreams

CONNECTION_WINDOW = 1 << 20
"""Bytes a client may send on all its streams before the app has taken some: the most a connection can make us keep."""

CLOSED_REMEMBERED = 256
"""Streams of which is known how they ended; what still comes for older ones gets a more general answer."""

KNOWN_BLOCKS_MAX = 64
KNOWN_BLOCK_LENGTH_MAX = 512
"""Header blocks that are remembered with the request they mean, and how long each may be."""

ABANDONED_MAX = 4
"""Times the streams allowed: so many requests may still be at work whose streams the client has reset.

A browser that leaves a page resets all of its streams, and at once asks for the next; their apps end a moment later.
"""

LINGER_S = 2.0
"""As with HTTP/1: how long what a client still sends is dropped, so that it can read why it is let go."""

TURN_S = 0.002
"""After so long in one turn of the loop others have theirs. At least one frame is read, which takes 6 ms at worst."""

FULL_READ = 1 << 16
"""After a read of so many bytes as well: libuv would read 32 times 256 KiB in a row."""

MANY_FIELDS = 10
"""As so many resets counts a header block that was too large."""

ENDED, RESET_BY_CLIENT, RESET_BY_US = range(3)


class HTTP2Connection(asyncio.Protocol):
    """One client connection that speaks HTTP/2, begun by HTTP1Connection."""

    def __init__(self, replaces: HTTP1Connection) -> None:
        lane = self.lane = replaces.lane
        config = lane.config
        self.client, self.server = replaces.client, replaces.server
        self.scheme, self.tls = replaces.scheme, replaces.tls
        self.label = replaces.label
        self.root_path = lane.root_path
        self.common = lane.common_fields
        self.requests = 0
        self.transport = replaces.transport
        self.output = Output(lane.loop, replaces.transport)
        self.streams: dict[int, Stream] = {}
        self.highest = 0  # stream the client has opened
        self.accepts_push = True
        self.push_limit = 1 << 31
        self.pushed = 0
        self.departure = Departure(self)
        self._replaces: HTTP1Connection | None = replaces
        self._last_pushed = 0
        self._decoder = Decoder()
        self._known: dict[bytes, HTTP2Head] = {}
        self._block: bytearray | None = None  # of a header block that goes on in CONTINUATION
        self._block_stream = 0
        self._block_flags = 0
        self._closed: dict[int, int] = {}  # how the last streams ended
        self._abandoned = 0  # requests whose stream is gone and whose app is still at work
        self._allowance = Allowance(lane.loop.time)
        self._rest = b""  # an incomplete frame, or what is for the next turn
        self._turn: asyncio.Handle | None = None  # to read on in the next turn of the loop
        self._full = False  # this one was used up
        self._preface = True
        self.settled = False  # the client's SETTINGS have come
        self._over = False  # nothing that comes is read any more
        self._receive_window = CONNECTION_WINDOW
        self._owed = 0
        self._max_streams: int = config.h2_max_concurrent_streams
        self._max_list: int = config.h2_max_header_list_size
        self._max_frame: int = max(config.h2_max_inbound_frame_size, 1 << 14)
        self._idle_since = self._last_read = lane.loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._read_timer: asyncio.TimerHandle | None = None
        self._logging: set[asyncio.Task[None]] = set()
        self._slow: SlowStreams | None = None
        self._bodies: BodyBudget | None = None

    def take_over(self, data: bytes) -> None:
        """Serve the connection from now on. data: what was read of it already."""
        lane = self.lane
        self.transport.set_protocol(self)
        self.output.write(
            settings(
                (
                    (MAX_CONCURRENT_STREAMS, self._max_streams),
                    (MAX_HEADER_LIST_SIZE, self._max_list),
                    (ENABLE_CONNECT_PROTOCOL, 1),
                    (INITIAL_WINDOW_SIZE, WINDOW),
                    (MAX_FRAME_SIZE, self._max_frame),
                )
            )
            + window_update(0, CONNECTION_WINDOW - 65535)
        )
        replaced, self._replaces = cast(Any, self._replaces), None
        lane.replaced(replaced, self)
        self._timer = lane.loop.call_later(lane.keep_alive_timeout, self._idle_check)
        if lane.read_timeout is not None:
            self._read_timer = lane.loop.call_later(lane.read_timeout, self._read_check)
        if data:
            self.data_received(data)

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        if self._read_timer is not None:
            self._last_read = self.lane.loop.time()
        if self._turn is not None:
            self._rest += data  # it was on its way already
            return
        if self._rest:
            data = self._rest + data
        self._digest(data)
        if len(data) >= FULL_READ and self._turn is None:
            self._hold()

    def _digest(self, data: bytes) -> None:
        self._rest = b""
        try:
            if self._preface:
                data = self._read_preface(data)
            position = self._read_frames(data)
            self.output.check_unread()
        except ConnectionFault as fault:
            self.fail(fault.code)
            return
        if position < len(data):
            self._rest = data[position:]
            if self._full:
                self._hold()
            elif not self.streams:
                self.watched().head_begun()
        elif self._slow is not None and self._block is None:
            self._slow.head_done()

    def _hold(self) -> None:
        """Go on reading in the next turn of the loop: this one has done enough for one connection."""
        self._turn = self.lane.loop.call_soon(self._read_on)
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def _read_on(self) -> None:
        self._turn = None
        if self._rest and not self._over:
            self._digest(self._rest)
        if self._turn is None and not self.transport.is_closing():
            self.transport.resume_reading()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._over = True
        for timer in (self._timer, self._read_timer):
            if timer is not None:
                timer.cancel()
        if self._slow is not None:
            self._slow.stop()
        self.departure.stop()
        for stream in list(self.streams.values()):
            self._drop(stream, RESET_BY_CLIENT)
        self.lane.closed(self)

    def pause_writing(self) -> None:
        self.output.write_paused = True
        self.watched().write_paused()

    def resume_writing(self) -> None:
        self.output.write_paused = False
        if self._slow is not None:
            self._slow.write_resumed()
        self.output.pump()
        for stream in list(self.streams.values()):
            stream.wake()

    # lane.Connection

    def drain(self) -> None:
        self.departure.begin(wait_for_idle=True)

    def close_idle(self) -> None:
        """Draining has told the client already, and closes when the last stream is done."""

    def idle_since(self) -> float | None:
        return None if self.streams else self._idle_since

    def abort(self) -> None:
        self._over = True
        self.transport.abort()
        for stream in list(self.streams.values()):
            consumer = stream.consumer
            self._drop(stream, RESET_BY_CLIENT)
            if consumer is not None:
                consumer.cancel()

    def under_way(self) -> Iterable[Request]:
        return [stream.consumer for stream in self.streams.values() if isinstance(stream.consumer, Exchange)]

    # Reading

    def _read_preface(self, data: bytes) -> bytes:
        """Return what stands behind the client's preface; as long as it is not complete, nothing."""
        begin = data[: len(PREFACE)]
        if not PREFACE.startswith(begin):
            raise ConnectionFault(PROTOCOL_ERROR, "no preface")
        if len(begin) < len(PREFACE):
            self._rest = data
            return b""
        self._preface = False
        return data[len(PREFACE) :]

    def _read_frames(self, data: bytes) -> int:
        """Handle all whole frames; return how much of the data that was."""
        position = 0
        size = len(data)
        self._full = False
        until = perf_counter() + TURN_S
        while size - position >= 9:
            high, low, kind, flags, stream_id = FRAME_HEAD.unpack_from(data, position)
            length = high << 8 | low
            if length > self._max_frame:
                raise ConnectionFault(FRAME_SIZE_ERROR, "a frame too large")
            end = position + 9 + length
            if not self.settled and kind != SETTINGS:
                raise ConnectionFault(PROTOCOL_ERROR, "no SETTINGS at the beginning")
            if self._block is not None and kind != CONTINUATION:
                raise ConnectionFault(PROTOCOL_ERROR, "a frame within a header block")
            if end > size:
                break
            payload = data[position + 9 : end]
            position = end
            stream_id &= 0x7FFFFFFF
            if kind == HEADERS:
                self._on_headers(flags, stream_id, payload)
            elif kind == DATA:
                self._on_data(flags, stream_id, payload)
            elif kind == CONTINUATION:
                self._on_continuation(flags, stream_id, payload)
            elif kind < UNKNOWN:
                HANDLERS[kind](self, flags, stream_id, payload)
            else:
                self.spend(UNKNOWN)
            if self._over:
                return size
            if perf_counter() > until:
                self._full = position < size
                break
        return position

    def spend(self, kind: int, count: int = 1) -> None:
        if not self._allowance.spend(kind, count):
            raise ConnectionFault(ENHANCE_YOUR_CALM, "too many frames of a kind")

    # Header blocks

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id & 1:  # 0 included
            raise ConnectionFault(PROTOCOL_ERROR, "HEADERS on a stream that is not the client's")
        if flags & (PADDED | HAS_PRIORITY):
            payload = unpadded(payload, flags)
            if flags & HAS_PRIORITY:
                if len(payload) < 5:
                    raise ConnectionFault(FRAME_SIZE_ERROR, "HEADERS too short for a priority")
                if int.from_bytes(payload[:4], "big") & 0x7FFFFFFF == stream_id:
                    flags |= _DEPENDS_ON_ITSELF
                payload = payload[5:]
        if flags & END_HEADERS:
            self._on_block(flags, stream_id, payload)
        else:
            self._block = bytearray(payload)
            self._block_stream, self._block_flags = stream_id, flags
            self.watched().head_begun()

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        block = self._block
        if block is None or stream_id != self._block_stream:
            raise ConnectionFault(PROTOCOL_ERROR, "CONTINUATION of nothing")
        self.spend(CONTINUATION)
        block += payload
        if len(block) > self._max_list + self._max_frame:
            raise ConnectionFault(ENHANCE_YOUR_CALM, "a header block too large")
        if flags & END_HEADERS:
            self._block = None
            self._on_block(self._block_flags, stream_id, bytes(block))

    def _on_block(self, flags: int, stream_id: int, block: bytes) -> None:
        """A whole header block: a request, or the trailers of one."""
        if self._slow is not None:
            self._slow.head_done()
        try:
            if flags & _DEPENDS_ON_ITSELF:
                self._read_fields(block)
                raise StreamFault(PROTOCOL_ERROR, "a stream that depends on itself")
            stream = self.streams.get(stream_id)
            if stream is not None or stream_id <= self.highest:
                self._on_trailers(stream, stream_id, flags, self._read_fields(block))
                return
            last = self.departure.last_stream
            if last is not None and stream_id > last:
                # The client opens it anew elsewhere: it was told.
                self.spend(RST_STREAM)
                self._read_fields(block)
                return
            self.highest = stream_id
            self._on_request(stream_id, self._read_request(block), bool(flags & END_STREAM))
        except FieldsTooLargeError:
            self._answer(stream_id, 431, bool(flags & END_STREAM))
        except RequestRefused as refused:
            self._answer(stream_id, refused.status, bool(flags & END_STREAM))
        except StreamFault as fault:
            self.stream_fault(stream_id, fault.code)

    def _read_fields(self, block: bytes) -> list[tuple[bytes, bytes]]:
        before = self._decoder.changes
        try:
            return self._decoder.decode(block, self._max_list)
        finally:
            if before != self._decoder.changes:
                self._known.clear()

    def _read_request(self, block: bytes) -> HTTP2Head:
        head = self._known.get(block)
        if head is None:
            before = self._decoder.changes
            limits = self.lane.limits
            fields = self._read_fields(block)
            head = request_head(fields, len(block), limits.request_line_bytes, limits.request_fields)
            # Clients repeat themselves: while the table stays as it is, the same bytes mean the same request.
            if before == self._decoder.changes and len(block) <= KNOWN_BLOCK_LENGTH_MAX:
                if len(self._known) >= KNOWN_BLOCKS_MAX:
                    self._known.clear()
                self._known[block] = head
        return head

    def _on_trailers(
        self, stream: Stream | None, stream_id: int, flags: int, fields: list[tuple[bytes, bytes]]
    ) -> None:
        if stream is None:
            how = self._closed.get(stream_id)
            if how is None:
                raise ConnectionFault(PROTOCOL_ERROR, "a stream number that was passed over")
            if how == ENDED:
                raise ConnectionFault(STREAM_CLOSED, "HEADERS on a closed stream")
            if how == RESET_BY_CLIENT:
                raise StreamFault(STREAM_CLOSED, "HEADERS on a stream that was reset")
            return
        if stream.remote_closed:
            raise StreamFault(STREAM_CLOSED, "HEADERS behind the end of a stream")
        if not flags & END_STREAM:
            raise StreamFault(PROTOCOL_ERROR, "trailers that do not end the stream")
        check_trailers(fields)
        self._end_of_body(stream)

    def _on_request(self, stream_id: int, head: HTTP2Head, end: bool) -> None:
        if len(self.streams) - self.pushed >= self._max_streams or self._abandoned >= ABANDONED_MAX * self._max_streams:
            raise StreamFault(REFUSED_STREAM, "too many streams")
        if end and head.content_length:
            raise StreamFault(PROTOCOL_ERROR, "no body, and a content-length")
        stream = self.streams[stream_id] = Stream(self, stream_id, end)
        stream.expects = head.expect_continue and not end
        self.count_request()
        self.begin(stream, head)

    def count_request(self) -> None:
        self.requests += 1
        if self.requests >= self.lane.max_streams:
            self.departure.begin(wait_for_idle=False)

    def begin(self, stream: Stream, head: HTTP2Head) -> None:
        """Have the app answer a request."""
        lane = self.lane
        stream.host = head.host
        if head.protocol:
            from .websocket import serve_stream

            serve_stream(stream, head)
            return
        label = self.label
        if lane.forwarded is not None:
            from ..http1.forwarded import as_client_made_it

            head, label = as_client_made_it(lane.forwarded, stream, head, label)
        if stream.root_path:
            head = mounted(head, stream.root_path)
        if lane.request_ids:
            from ..lane.request_ids import identified

            head = cast(HTTP2Head, identified(head))
        lane.counters.request_started()
        direct = lane.direct
        exchange: HTTP2Exchange
        if direct is not None and direct.usable():
            exchange = direct.stream_exchange(stream, head)
        else:
            exchange = HTTP2ASGIExchange(stream, head)
        stream.consumer = exchange
        end = stream.remote_closed
        if lane.table is not None:
            lane.table.begin(exchange, HANDLING if end else READING, head.raw_method, head.raw_path, label)
        if lane.server_names and head.host.decode("latin1") not in lane.server_names:
            exchange.refuse(404)
            return
        limit = lane.limits.body_bytes
        if limit is not None and head.content_length > limit:
            exchange.refuse(413)
            return
        if end:
            exchange.end_of_body()
        elif lane.limits.min_data_rate is not None:
            self.watched().body_begun(stream)
        if lane.overload is None:
            lane.running += 1  # run() takes it back
            exchange.task = lane.loop.create_task(exchange.run())
        else:
            lane.overload.begin(exchange)

    def _answer(self, stream_id: int, status: int, end: bool) -> None:
        """Answer a request that does not come to the app."""
        # It costs us what a reset does, or reading thousands of fields.
        self.spend(RST_STREAM, MANY_FIELDS if status == 431 else 1)
        if stream_id in self.streams or stream_id < self.highest:
            self.stream_fault(stream_id, PROTOCOL_ERROR)
            return
        self.highest = stream_id
        self._remember(stream_id, ENDED if end else RESET_BY_US)
        block, _ = response_block(status, [(b"content-length", b"0")], self.common)
        self.output.write_block(stream_id, block, True)
        if not end:
            self._read_rest_of(stream_id)

    def _read_rest_of(self, stream_id: int) -> None:
        """A request was answered that never got a stream: its body is coming, and is dropped on one."""
        if len(self.streams) - self.pushed >= self._max_streams:
            self.output.write(rst_stream(stream_id, NO_ERROR))
            return
        stream = self.streams[stream_id] = Stream(self, stream_id, remote_closed=False)
        stream.local_closed = True
        stream.drop_rest()

    # Bodies

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        if not stream_id:
            raise ConnectionFault(PROTOCOL_ERROR, "DATA on stream 0")
        data = unpadded(payload, flags) if flags & PADDED else payload
        if not data and not flags & END_STREAM:
            self.spend(DATA)
        self._receive_window -= size
        if self._receive_window < 0:
            raise ConnectionFault(FLOW_CONTROL_ERROR, "more than the connection's window")
        stream = self.streams.get(stream_id)
        if stream is None:
            if stream_id > self.highest or not stream_id & 1:
                raise ConnectionFault(PROTOCOL_ERROR, "DATA on a stream that was not opened")
            self.release(size)
            if self._closed.get(stream_id) != RESET_BY_US:
                self.stream_fault(stream_id, STREAM_CLOSED)
            return
        if stream.remote_closed:
            self.release(size)
            self.stream_fault(stream_id, STREAM_CLOSED)
            return
        stream.receive_window -= size
        consumer = stream.consumer
        try:
            if stream.receive_window < 0:
                raise StreamFault(FLOW_CONTROL_ERROR, "more than the stream's window")
            expected = None
            if isinstance(consumer, HTTP2Exchange):
                head = consumer.head
                expected = head.content_length if head.sized else None
            stream.take(data, size, expected)
            if stream.gone:
                return
            limit = self.lane.limits.body_bytes
            if limit is not None and stream.received > limit and isinstance(consumer, HTTP2Exchange):
                self._too_large(stream, consumer)
                return
            if flags & END_STREAM:
                self._end_of_body(stream)
        except StreamFault as fault:
            self.stream_fault(stream_id, fault.code)

    def _too_large(self, stream: Stream, exchange: HTTP2Exchange) -> None:
        """More of a body came than is allowed: 413, or if the response has begun the stream ends."""
        stream.give_up(exchange, 413)
        exchange.stop()

    def _end_of_body(self, stream: Stream) -> None:
        consumer = stream.consumer
        if isinstance(consumer, HTTP2Exchange):
            if consumer.head.sized and stream.received != consumer.head.content_length:
                raise StreamFault(PROTOCOL_ERROR, "less of a body than its content-length")
            if self.lane.table is not None:
                self.lane.table.stage(consumer, HANDLING)
        stream.remote_closed = True
        if consumer is not None:
            consumer.end_of_body()
        elif stream.local_closed:
            self.answered(stream)
        stream.send_last()

    @property
    def bodies(self) -> BodyBudget | None:
        if self._bodies is None and self.lane.bodies is not None:
            self._bodies = self.lane.bodies.share()
        return self._bodies

    def release(self, size: int) -> None:
        """Let the client send as much again on the connection."""
        self._owed += size
        if self._owed >= CONNECTION_WINDOW // 2 and not self._over:
            self._receive_window += self._owed
            self.output.write(window_update(0, self._owed))
            self._owed = 0

    # The ends of things

    def stream_of(self, stream_id: int) -> Stream | None:
        """Return the stream, None if it is closed; raise ConnectionFault if it was never opened."""
        stream = self.streams.get(stream_id)
        if (stream is None and stream_id > (self.highest if stream_id & 1 else self._last_pushed)) or not stream_id:
            raise ConnectionFault(PROTOCOL_ERROR, "a frame for a stream that was not opened")
        return stream

    def stream_fault(self, stream_id: int, code: int) -> None:
        """Reset a stream for what the client did."""
        # Whoever makes us reset streams keeps us as busy as who resets them.
        self.spend(RST_STREAM)
        stream = self.streams.get(stream_id)
        if stream is not None:
            self.reset(stream, code)
        else:
            if stream_id > self.highest and stream_id & 1:
                self.highest = stream_id
            self._remember(stream_id, RESET_BY_US)
            self.output.write(rst_stream(stream_id, code))

    def reset(self, stream: Stream, code: int) -> None:
        """End a stream from our side."""
        self.output.write(rst_stream(stream.id, code))
        self._drop(stream, RESET_BY_US)
        self._look_if_idle()

    def reset_by_client(self, stream: Stream) -> None:
        self._drop(stream, RESET_BY_CLIENT)
        self._look_if_idle()

    def answered(self, stream: Stream) -> None:
        """The exchange on the stream is done, or its last byte is written: when both are, so is the stream."""
        if stream.gone:
            self._abandoned -= 1
        elif stream.keeps_last:
            stream.drop_rest()
        elif stream.local_closed:
            if not stream.remote_closed:
                stream.drop_rest()
                return
            self._forget(stream, ENDED)
            self._look_if_idle()

    def _drop(self, stream: Stream, how: int) -> None:
        """The stream was reset, or its connection is gone: whoever is at work on it hears of it."""
        consumer = stream.consumer
        self._forget(stream, how)
        if consumer is not None:
            self._abandoned += 1
            consumer.disconnect()

    def _forget(self, stream: Stream, how: int) -> None:
        if self.streams.pop(stream.id, None) is None:
            return
        self._remember(stream.id, how)
        if not stream.id & 1:
            self.pushed -= 1
        self.output.forget(stream)
        if self._slow is not None:
            self._slow.forget(stream)
        stream.end()

    def _remember(self, stream_id: int, how: int) -> None:
        closed = self._closed
        closed[stream_id] = how
        if len(closed) > CLOSED_REMEMBERED:
            del closed[next(iter(closed))]

    def _look_if_idle(self) -> None:
        if not self.streams:
            self._idle_since = self.lane.loop.time()
            self.departure.idle()

    def fail(self, code: int) -> None:
        """End the connection at once with a GOAWAY that says why; its requests are told of a disconnect."""
        if self._over:
            return
        self._over = True
        self.output.write(goaway(self.highest, code))
        self.close(linger=True)

    def close(self, linger: bool = False) -> None:
        """Close once what was written is sent. linger: the client may be sending still."""
        self._over = True
        self._rest = b""
        self.departure.stop()
        for stream in list(self.streams.values()):
            self._drop(stream, RESET_BY_CLIENT)
        self.output.flush()
        self.output.closed = True
        transport = self.transport
        if linger and transport.can_write_eof():
            # Closing with unread bytes would make the kernel answer with a reset, which can destroy the GOAWAY.
            transport.write_eof()
            self.lane.loop.call_later(LINGER_S, transport.abort)
            return
        # Asked before: asyncio's transport for TLS has no answer once it is closed.
        if transport.get_write_buffer_size():
            self.lane.loop.call_later(LINGER_S, transport.abort)
        transport.close()

    @property
    def over(self) -> bool:
        return self._over

    @property
    def waits_for_head(self) -> bool:
        """Whether a frame or a header block has begun and not ended."""
        return self._block is not None or (self._turn is None and bool(self._rest))

    def next_pushed(self) -> int:
        self._last_pushed += 2
        return self._last_pushed

    # Time

    def watched(self) -> SlowStreams:
        if self._slow is None:
            from .slow_clients import SlowStreams

            self._slow = SlowStreams(self)
        return self._slow

    def _idle_check(self) -> None:
        """Close a connection on which nothing has been asked for too long. See HTTP1Connection._idle_check."""
        lane = self.lane
        left = lane.keep_alive_timeout
        if not self.streams:
            left += self._idle_since - lane.loop.time()
            if left <= 0:
                if not self._over:
                    self.output.write(goaway(self.highest, NO_ERROR))
                    self.close()
                return
        self._timer = lane.loop.call_later(left, self._idle_check)

    def _read_check(self) -> None:
        """Close a connection whose next bytes are due and do not come (read_timeout)."""
        lane = self.lane
        left = timeout = cast(float, lane.read_timeout)
        due = not self.streams or any(not stream.remote_closed and not stream.held for stream in self.streams.values())
        if due:
            left += max(self._last_read, self._idle_since) - lane.loop.time()
            if left <= 0:
                if not self._over:
                    self.output.write(goaway(self.highest, NO_ERROR))
                    self.close()
                return
        self._read_timer = lane.loop.call_later(min(left, timeout), self._read_check)

    def log_later(self, access: Coroutine[Any, Any, None]) -> None:
        """Run an access log call that nobody can wait for."""
        task = self.lane.loop.create_task(access)
        self._logging.add(task)
        task.add_done_callback(self._logging.discard)


_DEPENDS_ON_ITSELF = 0x100  # among the flags of a header block; none of the wire's
