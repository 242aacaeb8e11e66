"""Clients of HTTP/2 that are slow on purpose: heads and bodies that trickle in, responses that nobody takes.

As slow_clients for HTTP/1. A connection gets one of these when something of it is first waited for.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .exchange import Exchange
from .http2_frames import CANCEL, NO_ERROR
from .slow_clients import BODY_WINDOW_S

if TYPE_CHECKING:
    from .http2 import HTTP2Connection
    from .http2_stream import Stream


class SlowStreams:
    """The clocks that run against one client: one for a head, one for all bodies, one for all that is to be sent."""

    __slots__ = ("_bodies", "_body", "_connection", "_head", "_left", "_moved", "_write", "_writes")

    def __init__(self, connection: HTTP2Connection) -> None:
        self._connection = connection
        self._head: asyncio.TimerHandle | None = None
        self._body: asyncio.TimerHandle | None = None
        # What had come of each when its time began; None for one that began within a time, and is judged in the next.
        self._bodies: dict[Stream, int | None] = {}
        self._write: asyncio.TimerHandle | None = None
        self._writes: dict[Stream, int | None] = {}  # the same of what was sent
        self._left = 0  # what the transport had to send
        self._moved = False  # it had sent enough to go on, within this time

    def stop(self) -> None:
        """The connection is gone."""
        for timer in (self._head, self._body, self._write):
            if timer is not None:
                timer.cancel()
        self._bodies.clear()
        self._writes.clear()

    def forget(self, stream: Stream) -> None:
        """The stream is over."""
        self._bodies.pop(stream, None)
        self._writes.pop(stream, None)

    # A frame or header block that has begun

    def head_begun(self) -> None:
        lane = self._connection.lane
        if self._head is None and (bound_s := lane.limits.header_timeout_s) is not None:
            self._head = lane.loop.call_later(bound_s, self._head_late)

    def head_done(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _head_late(self) -> None:
        self._head = None
        if self._connection.waits_for_head:
            self._connection.fail(NO_ERROR)

    # Bodies

    def body_begun(self, stream: Stream) -> None:
        self._bodies[stream] = None
        if self._body is None:
            self._body = self._connection.lane.loop.call_later(BODY_WINDOW_S, self._check_bodies)

    def _check_bodies(self) -> None:
        self._body = None
        least = (self._connection.lane.limits.min_data_rate or 0) * BODY_WINDOW_S
        bodies, self._bodies = self._bodies, {}
        late: list[Stream] = []
        for stream, before in bodies.items():
            if stream.remote_closed or stream.consumer is None:  # read to its end, or nobody wants it any more
                continue
            # One that the app does not read has an excuse.
            if before is not None and stream.received - before < least and not stream.held:
                late.append(stream)
            else:
                self._bodies[stream] = stream.received
        for stream in late:
            consumer = stream.consumer
            if isinstance(consumer, Exchange):
                stream.give_up(consumer, 408)
                consumer.stop()
        if self._bodies:
            self._body = self._connection.lane.loop.call_later(BODY_WINDOW_S, self._check_bodies)

    # What is to be sent

    def write_begun(self, stream: Stream) -> None:
        """More is to be sent on the stream than its window, or the transport, has room for."""
        self._writes[stream] = None
        self._watch_writes()

    def write_paused(self) -> None:
        """The transport has more to send than the client has taken."""
        self._watch_writes()

    def write_resumed(self) -> None:
        self._moved = True

    def _watch_writes(self) -> None:
        connection = self._connection
        if self._write is None and (bound_s := connection.lane.limits.write_timeout_s) is not None:
            self._left = connection.transport.get_write_buffer_size()
            self._moved = False
            self._write = connection.lane.loop.call_later(bound_s, self._check_writes, bound_s)

    def _check_writes(self, bound_s: float) -> None:
        self._write = None
        connection = self._connection
        least = max(1.0, (connection.lane.limits.min_data_rate or 0) * bound_s)
        if connection.output.write_paused:
            left = connection.transport.get_write_buffer_size()
            if self._left - left < least and not self._moved:
                connection.abort()
                return
        writes, self._writes = self._writes, {}
        for stream, before in writes.items():
            if stream.pending is None:
                continue
            if before is not None and stream.sent - before < least and not connection.output.write_paused:
                stream.reset(CANCEL)
            else:
                self._writes[stream] = stream.sent
        if self._writes or connection.output.write_paused:
            self._watch_writes()
