"""Clients of HTTP/2 that are slow on purpose: heads and bodies that trickle in, responses that nobody takes.

As slow_clients for HTTP/1. A connection gets one of these when something of it is first waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from ..http1.slow_clients import BODY_WINDOW_S
from ..lane.exchange import Exchange
from .frames import CANCEL, NO_ERROR

if TYPE_CHECKING:
    from ..lane.service import Service
    from .output import Output
    from .stream import Stream

EARLY_S = 0.01
"""Loops round the time of a timer; one that is so little early counts as on time."""


class Watch:
    """Streams, each of which is looked at so many seconds after it was added, and again; one timer for all of them."""

    __slots__ = ("_judge", "_loop", "_period_s", "_since", "_timer")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, period_s: float, judge: Callable[[Stream, int], int | None]
    ) -> None:
        """judge: gets a stream and how far it had come; returns how far it is now, None to watch it no longer."""
        self._loop = loop
        self._period_s = period_s
        self._judge = judge
        self._since: dict[Stream, tuple[float, int]] = {}  # by time
        self._timer: asyncio.TimerHandle | None = None

    def add(self, stream: Stream, so_far: int) -> None:
        """Watch it from now on, if it is not watched already."""
        if stream not in self._since:
            self._since[stream] = (self._loop.time(), so_far)
            if self._timer is None:
                self._timer = self._loop.call_later(self._period_s, self._look)

    def forget(self, stream: Stream) -> None:
        self._since.pop(stream, None)

    def stop(self) -> None:
        self._since.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        due = [stream for stream, (since, _) in self._since.items() if since + self._period_s <= now + EARLY_S]
        for stream in due:
            begun = self._since.pop(stream, None)  # judging another one may have ended it
            if begun is not None and (so_far := self._judge(stream, begun[1])) is not None:
                self._since[stream] = (now, so_far)
        if self._since and self._timer is None:
            first = next(iter(self._since.values()))[0]
            self._timer = self._loop.call_later(max(0.0, first + self._period_s - now), self._look)


class Watched(Protocol):
    """A connection of HTTP/2 whose client is watched."""

    service: Service
    transport: asyncio.Transport
    output: Output

    @property
    def waits_for_head(self) -> bool:
        """Whether a frame or a header block has begun and not ended."""

    def fail(self, code: int) -> None: ...
    def abort(self) -> None: ...


class SlowStreams:
    """The clocks that run against one client: for a head, for bodies, for what is to be sent on streams, and at all."""

    __slots__ = ("_bodies", "_connection", "_head", "_stall", "_writes")

    def __init__(self, connection: Watched) -> None:
        service = connection.service
        self._connection = connection
        self._head: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._bodies = Watch(service.loop, BODY_WINDOW_S, self._judge_body)
        bound_s = service.limits.write_timeout_s
        self._writes = None if bound_s is None else Watch(service.loop, bound_s, self._judge_write)

    def stop(self) -> None:
        """The connection is gone."""
        for timer in (self._head, self._stall):
            if timer is not None:
                timer.cancel()
        self._bodies.stop()
        if self._writes is not None:
            self._writes.stop()

    def forget(self, stream: Stream) -> None:
        """The stream is over."""
        self._bodies.forget(stream)
        if self._writes is not None:
            self._writes.forget(stream)

    # A frame or header block that has begun

    def head_begun(self) -> None:
        service = self._connection.service
        if self._head is None and (bound_s := service.limits.header_timeout_s) is not None:
            self._head = service.loop.call_later(bound_s, self._head_late)

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
        self._bodies.add(stream, stream.received)

    def _judge_body(self, stream: Stream, before: int) -> int | None:
        if stream.remote_closed or stream.consumer is None:  # read to its end, or nobody wants it any more
            return None
        least = (self._connection.service.limits.min_data_rate or 0) * BODY_WINDOW_S
        # One that the app does not read has an excuse.
        if stream.received - before < least and not stream.held:
            consumer = stream.consumer
            if isinstance(consumer, Exchange):
                stream.give_up(consumer, 408)
                consumer.stop()
            return None
        return stream.received

    # What is to be sent

    def write_begun(self, stream: Stream) -> None:
        """More is to be sent on the stream than its window, or the transport, has room for."""
        if self._writes is not None:
            self._writes.add(stream, stream.sent)

    def _judge_write(self, stream: Stream, before: int) -> int | None:
        if stream.pending is None:
            return None
        # Where nothing goes at all, the stream is not to blame; see _stalled.
        if stream.sent - before < self._least() and not self._connection.output.write_paused:
            stream.reset(CANCEL)
            return None
        return stream.sent

    def _least(self) -> float:
        limits = self._connection.service.limits
        return max(1.0, (limits.min_data_rate or 0) * (limits.write_timeout_s or 0))

    def write_paused(self) -> None:
        """The transport has more to send than the client has taken."""
        connection = self._connection
        if self._stall is None and (bound_s := connection.service.limits.write_timeout_s) is not None:
            left = connection.transport.get_write_buffer_size()
            self._stall = connection.service.loop.call_later(bound_s, self._stalled, left)

    def write_resumed(self) -> None:
        """It has sent enough to go on."""
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _stalled(self, before: int) -> None:
        self._stall = None
        connection = self._connection
        if before - connection.transport.get_write_buffer_size() < self._least():
            connection.abort()
        else:
            self.write_paused()
