"""From header blocks to requests: they are put together, decoded, and given to the app or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ...core.shared.requests_table import HANDLING, READING
from ..http1.parser import RequestRefused
from ..lane.mount import mounted
from .exchange import HTTP2ASGIExchange, HTTP2Exchange
from .frames import (
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FRAME_SIZE_ERROR,
    HAS_PRIORITY,
    PADDED,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    RST_STREAM,
    STREAM_CLOSED,
    ConnectionFault,
    StreamFault,
    unpadded,
)
from .hpack_decoder import Decoder, FieldsTooLargeError
from .hpack_encoder import response_block
from .request import HTTP2Head, check_trailers, request_head
from .streams import ENDED, RESET_BY_CLIENT

if TYPE_CHECKING:
    from .departure import Departure
    from .flood_guard import Allowance
    from .hpack_decoder import Field
    from .slow_clients import SlowStreams
    from .stream import Stream
    from .streams import Streams

KNOWN_BLOCKS_MAX = 64
KNOWN_BLOCK_LENGTH_MAX = 512
"""Header blocks that are remembered with the request they mean, and how long each may be."""

MANY_FIELDS = 10
"""As so many resets counts a header block that was too large."""

_DEPENDS_ON_ITSELF = 0x100  # among the flags of a header block; none of the wire's


class Requests:
    """Those of one connection."""

    __slots__ = (
        "_allowance",
        "_begun",
        "_block",
        "_block_flags",
        "_block_stream",
        "_decoder",
        "_known",
        "_max_block",
        "_max_list",
        "_slow",
        "departure",
        "streams",
    )

    def __init__(self, streams: Streams, departure: Departure, allowance: Allowance, slow: SlowStreams) -> None:
        config = streams.service.config
        self.streams = streams
        self.departure = departure
        self._allowance = allowance
        self._slow = slow
        self._begun = 0
        self._decoder = Decoder()
        self._known: dict[bytes, HTTP2Head] = {}
        self._block: bytearray | None = None  # of a header block that goes on in CONTINUATION
        self._block_stream = 0
        self._block_flags = 0
        self._max_list: int = config.h2_max_header_list_size
        self._max_block = self._max_list + max(config.h2_max_inbound_frame_size, 1 << 14)

    @property
    def block_begun(self) -> bool:
        """Whether a header block goes on: then nothing but CONTINUATION may come."""
        return self._block is not None

    # Header blocks

    def on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        """Read a HEADERS frame."""
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
            self._slow.head_begun()

    def on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        """Read a CONTINUATION frame."""
        block = self._block
        if block is None or stream_id != self._block_stream:
            raise ConnectionFault(PROTOCOL_ERROR, "CONTINUATION of nothing")
        self._allowance.take(CONTINUATION)
        block += payload
        if len(block) > self._max_block:
            raise ConnectionFault(ENHANCE_YOUR_CALM, "a header block too large")
        if flags & END_HEADERS:
            self._block = None
            self._on_block(self._block_flags, stream_id, bytes(block))

    def _on_block(self, flags: int, stream_id: int, block: bytes) -> None:
        """A whole header block: a request, or the trailers of one."""
        streams = self.streams
        self._slow.head_done()
        try:
            if flags & _DEPENDS_ON_ITSELF:
                self._read_fields(block)
                raise StreamFault(PROTOCOL_ERROR, "a stream that depends on itself")
            stream = streams.open.get(stream_id)
            if stream is not None or stream_id <= streams.highest:
                self._on_trailers(stream, stream_id, flags, self._read_fields(block))
                return
            last = self.departure.last_stream
            if last is not None and stream_id > last:
                # The client opens it anew elsewhere: it was told.
                self._allowance.take(RST_STREAM)
                self._read_fields(block)
                return
            streams.highest = stream_id
            self._on_request(stream_id, self._read_request(block), bool(flags & END_STREAM))
        except FieldsTooLargeError:
            self._answer(stream_id, 431, bool(flags & END_STREAM))
        except RequestRefused as refused:
            self._answer(stream_id, refused.status, bool(flags & END_STREAM))
        except StreamFault as fault:
            streams.fault(stream_id, fault.code)

    def _read_fields(self, block: bytes) -> list[Field]:
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
            limits = self.streams.service.limits
            fields = self._read_fields(block)
            head = request_head(fields, len(block), limits.request_line_bytes, limits.request_fields)
            # Clients repeat themselves: while the table stays as it is, the same bytes mean the same request.
            if before == self._decoder.changes and len(block) <= KNOWN_BLOCK_LENGTH_MAX:
                if len(self._known) >= KNOWN_BLOCKS_MAX:
                    self._known.clear()
                self._known[block] = head
        return head

    def _on_trailers(self, stream: Stream | None, stream_id: int, flags: int, fields: list[Field]) -> None:
        if stream is None:
            how = self.streams.how_ended(stream_id)
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
        stream.end_of_body()

    # Requests

    def _on_request(self, stream_id: int, head: HTTP2Head, end: bool) -> None:
        if self.streams.crowded:
            raise StreamFault(REFUSED_STREAM, "too many streams")
        if end and head.content_length:
            raise StreamFault(PROTOCOL_ERROR, "no body, and a content-length")
        stream = self.streams.begin(stream_id, end)
        stream.expects = head.expect_continue and not end
        self.begin(stream, head)

    def begin(self, stream: Stream, head: HTTP2Head) -> None:
        """Have the app answer a request."""
        service = self.streams.service
        self._begun += 1
        if self._begun >= service.max_streams:
            self.departure.begin(wait_for_idle=False)
        stream.host = head.host
        if head.protocol:
            from .websocket import serve_stream

            serve_stream(stream, head)
            return
        exchange = self._exchange(stream, head)
        head = cast(HTTP2Head, exchange.head)
        end = stream.remote_closed
        if service.server_names and head.host.decode("latin1") not in service.server_names:
            exchange.refuse(404)
            return
        limit = service.limits.body_bytes
        if limit is not None and head.content_length > limit:
            exchange.refuse(413)
            return
        if end:
            exchange.end_of_body()
        elif service.limits.min_data_rate is not None:
            self._slow.body_begun(stream)
        if service.overload is None:
            service.connections.running += 1  # run() takes it back
            exchange.task = service.loop.create_task(exchange.run())
        else:
            service.overload.begin(exchange)

    def _exchange(self, stream: Stream, head: HTTP2Head) -> HTTP2Exchange:
        """Return the exchange of a request, which is counted and shown from now on."""
        service = self.streams.service
        label = self.streams.peer.label
        if service.forwarded is not None:
            from ..http1.forwarded import as_client_made_it

            head, label = as_client_made_it(service.forwarded, stream, head, label)
        if stream.root_path:
            head = mounted(head, stream.root_path)
        if service.request_ids:
            from ..lane.request_ids import identified

            head = cast(HTTP2Head, identified(head))
        service.counters.request_started()
        direct = service.direct
        exchange: HTTP2Exchange
        if direct is not None and direct.usable():
            exchange = direct.stream_exchange(stream, head)
        else:
            exchange = HTTP2ASGIExchange(stream, head)
        stream.consumer = exchange
        stream.expected = head.content_length if head.sized else None
        if service.table is not None:
            stage = HANDLING if stream.remote_closed else READING
            service.table.begin(exchange, stage, head.raw_method, head.raw_path, label)
        return exchange

    def _answer(self, stream_id: int, status: int, end: bool) -> None:
        """Answer a request that does not come to the app."""
        streams = self.streams
        # It costs us what a reset does, or reading thousands of fields.
        self._allowance.take(RST_STREAM, MANY_FIELDS if status == 431 else 1)
        if stream_id in streams.open or stream_id < streams.highest:
            streams.fault(stream_id, PROTOCOL_ERROR)
            return
        block, _ = response_block(status, [(b"content-length", b"0")], streams.common)
        streams.answer_outside(stream_id, block, end)
