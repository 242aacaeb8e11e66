"""HTTP/2 (RFC 9113): one connection, its frames read in one pass, its requests run like HTTP/1's.

Nothing here waits: frames are answered as they are read, each request has one task, and what it writes is gathered
(output). A client that breaks the rules loses the stream, or the connection, with the code the RFC names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

from ..lane.exchange import Exchange
from ..lane.timers import Timers
from .control import HANDLERS
from .departure import Departure
from .flood_guard import Allowance
from .frames import (
    CONTINUATION,
    DATA,
    ENABLE_CONNECT_PROTOCOL,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    FRAME_HEAD,
    FRAME_SIZE_ERROR,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
    NO_ERROR,
    PADDED,
    PREFACE,
    PROTOCOL_ERROR,
    SETTINGS,
    STREAM_CLOSED,
    UNKNOWN,
    ConnectionFault,
    StreamFault,
    goaway,
    settings,
    unpadded,
    window_update,
)
from .output import Output
from .push import promise
from .requests import Requests
from .slow_clients import SlowStreams
from .stream import WINDOW
from .streams import CONNECTION_WINDOW, RESET_BY_US, Streams

if TYPE_CHECKING:
    from ..lane.connections import Connection
    from ..lane.service import Peer, Service
    from ..report.requests_table import Request
    from .hpack_encoder import CommonFields

LINGER_S = 2.0
"""As with HTTP/1: how long what a client still sends is dropped, so that it can read why it is let go."""

TURN_S = 0.002
"""After so long in one turn of the loop others have theirs. At least one frame is read, which takes 6 ms at worst."""

FULL_READ = 1 << 16
"""After a read of so many bytes as well: libuv would read 32 times 256 KiB in a row."""


class HTTP2Connection(asyncio.Protocol):
    """One client connection that speaks HTTP/2, begun by another protocol. common: see Streams."""

    def __init__(self, service: Service, peer: Peer, common: CommonFields) -> None:
        self.service = service
        self.transport = peer.transport
        self.output = Output(service.loop, peer.transport)
        self.allowance = Allowance(service.loop.time)
        self.settled = False  # the client's SETTINGS have come
        self._rest = b""  # an incomplete frame, or what is for the next turn
        self._turn: asyncio.Handle | None = None  # to read on in the next turn of the loop
        self._full = False  # this one was used up
        self._preface = True
        self._max_frame: int = max(service.config.h2_max_inbound_frame_size, 1 << 14)
        self._timers = Timers(service, self)
        self._slow = SlowStreams(self)
        self.streams = Streams(service, peer, common, self.output, self.allowance, self._slow, self._on_idle)
        self.departure = Departure(self.streams, self._close_unless_over)
        self._requests = Requests(self.streams, self.departure, self.allowance, self._slow)
        self.streams.on_promise = partial(promise, self._requests)

    def take_over(self, replaced: Connection, data: bytes) -> None:
        """Serve the connection from now on. data: what was read of it already."""
        service = self.service
        config = service.config
        self.transport.set_protocol(self)
        self.output.write(
            settings(
                (
                    (MAX_CONCURRENT_STREAMS, config.h2_max_concurrent_streams),
                    (MAX_HEADER_LIST_SIZE, config.h2_max_header_list_size),
                    (ENABLE_CONNECT_PROTOCOL, 1),
                    (INITIAL_WINDOW_SIZE, WINDOW),
                    (MAX_FRAME_SIZE, self._max_frame),
                )
            )
            + window_update(0, CONNECTION_WINDOW - 65535)
        )
        service.connections.replaced(replaced, self)
        self._timers.start()
        if data:
            self.data_received(data)

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        if self.streams.over:
            return
        if self.service.read_timeout is not None:
            self._timers.last_read = self.service.loop.time()
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
            elif not self.streams.open:
                self._slow.head_begun()
        elif not self._requests.block_begun:
            self._slow.head_done()

    def _hold(self) -> None:
        """Go on reading in the next turn of the loop: this one has done enough for one connection."""
        self._turn = self.service.loop.call_soon(self._read_on)
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def _read_on(self) -> None:
        self._turn = None
        if self._rest and not self.streams.over:
            self._digest(self._rest)
        if self._turn is None and not self.transport.is_closing():
            self.transport.resume_reading()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.streams.over = True
        self._timers.stop()
        self._slow.stop()
        self.departure.stop()
        self.streams.drop_all()
        self.service.connections.closed(self)

    def pause_writing(self) -> None:
        self.output.write_paused = True
        self._slow.write_paused()

    def resume_writing(self) -> None:
        self.output.write_paused = False
        self._slow.write_resumed()
        self.output.pump()
        for stream in list(self.streams.open.values()):
            stream.wake()

    # connections.Connection

    def drain(self) -> None:
        self.departure.begin(wait_for_idle=True)

    def close_idle(self) -> None:
        """Draining has told the client already, and closes when the last stream is done."""

    def idle_since(self) -> float | None:
        return None if self.streams.open else self._timers.idle_since

    def abort(self) -> None:
        self.streams.over = True
        self.transport.abort()
        self.streams.drop_all(cancel=True)

    def under_way(self) -> Iterable[Request]:
        return [stream.consumer for stream in self.streams.open.values() if isinstance(stream.consumer, Exchange)]

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
        streams, requests = self.streams, self._requests
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
            if kind != CONTINUATION and requests.block_begun:
                raise ConnectionFault(PROTOCOL_ERROR, "a frame within a header block")
            if end > size:
                break
            payload = data[position + 9 : end]
            position = end
            stream_id &= 0x7FFFFFFF
            if kind == HEADERS:
                requests.on_headers(flags, stream_id, payload)
            elif kind == DATA:
                self._on_data(flags, stream_id, payload)
            elif kind == CONTINUATION:
                requests.on_continuation(flags, stream_id, payload)
            elif kind < UNKNOWN:
                HANDLERS[kind](self, flags, stream_id, payload)
            else:
                self.allowance.take(UNKNOWN)
            if streams.over:
                return size
            if perf_counter() > until:
                self._full = position < size
                break
        return position

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        streams = self.streams
        size = len(payload)
        if not stream_id:
            raise ConnectionFault(PROTOCOL_ERROR, "DATA on stream 0")
        data = unpadded(payload, flags) if flags & PADDED else payload
        if not data and not flags & END_STREAM:
            self.allowance.take(DATA)
        if not streams.use_window(size):
            raise ConnectionFault(FLOW_CONTROL_ERROR, "more than the connection's window")
        stream = streams.open.get(stream_id)
        if stream is None:
            if stream_id > streams.highest or not stream_id & 1:
                raise ConnectionFault(PROTOCOL_ERROR, "DATA on a stream that was not opened")
            streams.release(size)
            if streams.how_ended(stream_id) != RESET_BY_US:
                streams.fault(stream_id, STREAM_CLOSED)
            return
        if stream.remote_closed:
            streams.release(size)
            streams.fault(stream_id, STREAM_CLOSED)
            return
        try:
            if stream.take(data, size) and flags & END_STREAM:
                stream.end_of_body()
        except StreamFault as fault:
            streams.fault(stream_id, fault.code)

    # The end

    def _on_idle(self) -> None:
        """The last stream is over."""
        self._timers.idle_since = self.service.loop.time()
        self.departure.idle()

    def fail(self, code: int) -> None:
        """End the connection at once with a GOAWAY that says why; its requests are told of a disconnect."""
        if self.streams.over:
            return
        self.streams.over = True
        self.output.write(goaway(self.streams.highest, code))
        self.close(linger=True)

    def close(self, linger: bool = False) -> None:
        """Close once what was written is sent. linger: the client may be sending still."""
        self.streams.over = True
        self._rest = b""
        self.departure.stop()
        self.streams.drop_all()
        self.output.flush()
        self.output.closed = True
        transport = self.transport
        if linger and transport.can_write_eof():
            # Closing with unread bytes would make the kernel answer with a reset, which can destroy the GOAWAY.
            transport.write_eof()
            self.service.loop.call_later(LINGER_S, transport.abort)
            return
        # Asked before: asyncio's transport for TLS has no answer once it is closed.
        if transport.get_write_buffer_size():
            self.service.loop.call_later(LINGER_S, transport.abort)
        transport.close()

    def _close_unless_over(self) -> None:
        if not self.streams.over:
            self.close()

    # Time

    @property
    def waits_for_head(self) -> bool:
        """Whether a frame or a header block has begun and not ended."""
        return self._requests.block_begun or (self._turn is None and bool(self._rest))

    # timers.Timed

    def is_idle(self) -> bool:
        return not self.streams.open

    def is_due(self) -> bool:
        streams = self.streams.open.values()
        return not streams or any(not stream.remote_closed and not stream.held for stream in streams)

    def idle_too_long(self) -> None:
        if not self.streams.over:
            self.output.write(goaway(self.streams.highest, NO_ERROR))
            self.close()

    def read_too_late(self) -> None:
        self.idle_too_long()


def take_over(common: CommonFields, service: Service, peer: Peer, replaced: Connection, data: bytes) -> None:
    """Serve a connection that turned out to speak HTTP/2. data: what was read of it and not understood."""
    HTTP2Connection(service, peer, common).take_over(replaced, data)
