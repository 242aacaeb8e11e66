"""What goes to one client of HTTP/2: frames gathered for one write, and bodies as far as windows and transport allow.

All that is written in one turn of the loop, whichever streams it is for, is one write: with TLS one record and one
call of the kernel instead of several for each response.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from .frames import (
    DATA,
    DEFAULT_FRAME_SIZE,
    DEFAULT_WINDOW,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_HEAD,
    WINDOW_MAX,
    ConnectionFault,
    StreamFault,
    headers,
    push_promise,
)
from .hpack_encoder import NO_TABLE

GATHER_MAX = 1 << 16
"""Bytes that are gathered for one write."""

FRAME_MAX = 1 << 16
"""The largest DATA frame sent, to clients that take such: streams should alternate."""

UNREAD_MAX = 1 << 20
"""Bytes beside bodies that may wait for a client that does not read: answers to its PINGs, to its bad requests."""


class Sending(Protocol):
    """A stream as it is sent. pending: what waits for a window or the transport. sent: bytes of it that have gone."""

    id: int
    pending: deque[memoryview] | None
    pending_end: bool
    send_window: int
    sent: int

    def close_local(self) -> None:
        """The last of the response was written."""

    def wake(self) -> None:
        """What was pending has gone."""


class Output:
    """The sending side of one connection."""

    __slots__ = (
        "_fresh",
        "_gathered",
        "_loop",
        "_ready",
        "_scheduled",
        "_size",
        "_transport",
        "closed",
        "frame_size",
        "initial_window",
        "window",
        "write_paused",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> None:
        self._loop = loop
        self._transport = transport
        self._gathered: list[bytes | memoryview] = []
        self._size = 0
        self._scheduled = False
        self._fresh = True  # no header block was sent yet
        self._ready: dict[int, Sending] = {}  # those with something to send and a window for it, in turn
        self.window = DEFAULT_WINDOW  # of the connection
        self.initial_window = DEFAULT_WINDOW  # of new streams
        self.frame_size = DEFAULT_FRAME_SIZE
        self.write_paused = False
        self.closed = False  # nothing more may be written

    def write(self, data: bytes) -> None:
        """Write whole frames, at the end of this turn of the loop."""
        self._gathered.append(data)
        self._size += len(data)
        if self._size > GATHER_MAX:
            self.flush()
        elif not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Hand to the transport what was gathered."""
        self._scheduled = False
        gathered = self._gathered
        if gathered:
            data = b"".join(gathered)
            gathered.clear()
            self._size = 0
            if not self.closed and not self._transport.is_closing():
                self._transport.write(data)

    def check_unread(self) -> None:
        """Raise ConnectionFault if a client makes us answer and does not read the answers."""
        if self.write_paused and self._transport.get_write_buffer_size() > UNREAD_MAX:
            raise ConnectionFault(ENHANCE_YOUR_CALM, "answers that are not read")

    def write_block(self, stream_id: int, block: bytes, end: bool, promised_id: int = 0) -> None:
        """Write a header block: of a response, or with promised_id of a request that is promised on the stream."""
        if self._fresh:
            self._fresh = False
            block = NO_TABLE + block
        if promised_id:
            self.write(push_promise(stream_id, promised_id, block, self.frame_size))
        else:
            self.write(headers(stream_id, block, end, self.frame_size))

    def send_headers(self, stream: Sending, block: bytes, end: bool) -> None:
        self.write_block(stream.id, block, end)
        if end:
            stream.close_local()

    def send_data(self, stream: Sending, data: bytes, end: bool) -> None:
        size = len(data)
        if (
            stream.pending is None
            and size <= self.window
            and size <= stream.send_window
            and size <= self.frame_size
            and not self.write_paused
        ):
            self.window -= size
            stream.send_window -= size
            self.write(FRAME_HEAD.pack(size >> 8, size & 0xFF, DATA, END_STREAM if end else 0, stream.id) + data)
            if end:
                stream.close_local()
            return
        if stream.pending is None:
            stream.pending = deque()
        if data:
            stream.pending.append(memoryview(data))
        stream.pending_end = end
        self._ready[stream.id] = stream
        self.pump()

    def pump(self) -> None:
        """Send of what waits as much as there is room for, the streams in turn."""
        ready = self._ready
        while ready and not self.write_paused:
            stream_id = next(iter(ready))
            stream = ready.pop(stream_id)
            pending = stream.pending
            if pending is None:
                continue
            if pending:
                size = min(len(pending[0]), stream.send_window, self.window, self.frame_size)
                if size <= 0:
                    if self.window <= 0:
                        ready[stream_id] = stream
                        return
                    continue  # until its window is opened
                self._send_piece(stream, pending, size)
            else:
                self._send_piece(stream, pending, 0)
            if stream.pending is not None:
                ready[stream_id] = stream

    def _send_piece(self, stream: Sending, pending: deque[memoryview], size: int) -> None:
        if size:
            piece = pending[0]
            if size == len(piece):
                pending.popleft()
            else:
                pending[0] = piece[size:]
                piece = piece[:size]
            self.window -= size
            stream.send_window -= size
            stream.sent += size
        else:
            piece = memoryview(b"")
        end = stream.pending_end and not pending
        if size or end:
            self._gathered.append(FRAME_HEAD.pack(size >> 8, size & 0xFF, DATA, END_STREAM if end else 0, stream.id))
            self._size += 9 + size
            if size:
                self._gathered.append(piece)
            if self._size > GATHER_MAX:
                self.flush()
            elif not self._scheduled:
                self._scheduled = True
                self._loop.call_soon(self.flush)
        if not pending:
            stream.pending = None
            if end:
                stream.close_local()
            stream.wake()

    def waiting(self) -> int:
        """Return how much the client has yet to take, gathered or handed to the transport."""
        return self._size + self._transport.get_write_buffer_size()

    # The client's windows

    def open_window(self, increment: int) -> None:
        """The client lets the connection send more. Raises ConnectionFault."""
        self.window += increment
        if self.window > WINDOW_MAX:
            raise ConnectionFault(FLOW_CONTROL_ERROR, "a window too large")
        if self._ready:
            self.pump()

    def open_stream_window(self, stream: Sending, increment: int) -> None:
        """The client lets a stream send more. Raises StreamFault."""
        stream.send_window += increment
        if stream.send_window > WINDOW_MAX:
            raise StreamFault(FLOW_CONTROL_ERROR, "a window too large")
        if stream.pending is not None:
            self._ready[stream.id] = stream
            self.pump()

    def forget(self, stream: Sending) -> None:
        self._ready.pop(stream.id, None)
