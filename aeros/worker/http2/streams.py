"""The streams of one HTTP/2 connection: which are open, how the others ended, and the window they share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any

from .frames import NO_ERROR, PROTOCOL_ERROR, RST_STREAM, ConnectionFault, rst_stream, window_update
from .stream import Stream

if TYPE_CHECKING:
    from ..lane.body_budget import BodyBudget
    from ..lane.service import Peer, Service
    from .flood_guard import Allowance
    from .hpack_decoder import Field
    from .hpack_encoder import CommonFields
    from .output import Output
    from .slow_clients import SlowStreams

CONNECTION_WINDOW = 1 << 20
"""Bytes a client may send on all its streams before the app has taken some: the most a connection can make us keep."""

CLOSED_REMEMBERED = 256
"""Streams of which is known how they ended; what still comes for older ones gets a more general answer."""

ABANDONED_MAX = 4
"""Times the streams allowed: so many requests may still be at work whose streams the client has reset.

A browser that leaves a page resets all of its streams, and at once asks for the next; their apps end a moment later.
"""

ENDED, RESET_BY_CLIENT, RESET_BY_US = range(3)


class Streams:
    """Those of one connection. A Stream tells it what becomes of it, the connection what the client does.

    on_idle: called when the last one is over. on_promise: has a promise made, see `promise`.
    """

    __slots__ = (
        "_allowance",
        "_bodies",
        "_closed",
        "_logging",
        "_most",
        "_on_idle",
        "_owed",
        "_promised",
        "_slow",
        "_window",
        "abandoned",
        "accepts_push",
        "common",
        "highest",
        "on_promise",
        "open",
        "output",
        "over",
        "peer",
        "push_limit",
        "pushed",
        "service",
    )

    on_promise: Callable[[Stream, str, Iterable[Field]], None]

    def __init__(
        self,
        service: Service,
        peer: Peer,
        common: CommonFields,
        output: Output,
        allowance: Allowance,
        slow: SlowStreams,
        on_idle: Callable[[], None],
    ) -> None:
        self.service = service
        self.peer = peer
        self.common = common
        self.output = output
        self._allowance = allowance
        self._slow = slow
        self._on_idle = on_idle
        self._most: int = service.config.h2_max_concurrent_streams
        self.open: dict[int, Stream] = {}
        self.over = False  # nothing that comes is read any more
        self.highest = 0  # stream the client has opened
        self.abandoned = 0  # requests whose stream is gone and whose app is still at work
        self._closed: dict[int, int] = {}  # how the last streams ended
        self.accepts_push = True
        self.push_limit = 1 << 31
        self.pushed = 0
        self._promised = 0  # the last stream that was
        self._window = CONNECTION_WINDOW
        self._owed = 0
        self._bodies: BodyBudget | None = None
        self._logging: set[asyncio.Task[None]] = set()

    # Their beginnings

    @property
    def full(self) -> bool:
        """Whether the client has as many open as it may have."""
        return len(self.open) - self.pushed >= self._most

    @property
    def crowded(self) -> bool:
        """Whether it may open no more: `full`, or too many are still at work whose streams it has reset."""
        return self.full or self.abandoned >= ABANDONED_MAX * self._most

    def begin(self, stream_id: int, remote_closed: bool) -> Stream:
        """Return a new stream that the client has opened."""
        stream = self.open[stream_id] = Stream(self, stream_id, remote_closed)
        return stream

    def begin_pushed(self) -> Stream:
        """Return a new stream of ours, which the client sends nothing on."""
        self._promised += 2
        self.pushed += 1
        return self.begin(self._promised, True)

    def answer_outside(self, stream_id: int, block: bytes, remote_closed: bool) -> None:
        """Answer with `block` what gets no stream: its body is coming, and is dropped on one if there is room."""
        self.highest = stream_id
        self._remember(stream_id, ENDED if remote_closed else RESET_BY_US)
        self.output.write_block(stream_id, block, True)
        if remote_closed:
            return
        if self.full:
            self.output.write(rst_stream(stream_id, NO_ERROR))
            return
        stream = self.begin(stream_id, remote_closed=False)
        stream.local_closed = True
        stream.drop_rest()

    def promise(self, stream: Stream, path: str, headers: Iterable[Field]) -> None:
        """Promise the response to a GET of the path, on a stream that is being answered."""
        self.on_promise(stream, path, headers)

    # Finding one

    def find(self, stream_id: int) -> Stream | None:
        """Return the stream, None if it is closed; raise ConnectionFault if it was never opened."""
        stream = self.open.get(stream_id)
        if (stream is None and stream_id > (self.highest if stream_id & 1 else self._promised)) or not stream_id:
            raise ConnectionFault(PROTOCOL_ERROR, "a frame for a stream that was not opened")
        return stream

    def how_ended(self, stream_id: int) -> int | None:
        """Return how a closed stream ended, None for one that is not known any more or never was."""
        return self._closed.get(stream_id)

    # The window they share

    @property
    def bodies(self) -> BodyBudget | None:
        if self._bodies is None and self.service.bodies is not None:
            self._bodies = self.service.bodies.share()
        return self._bodies

    def use_window(self, size: int) -> bool:
        """The client has sent so many bytes; tell whether it was allowed to."""
        self._window -= size
        return self._window >= 0

    def release(self, size: int) -> None:
        """Let the client send as much again on the connection."""
        self._owed += size
        if self._owed >= CONNECTION_WINDOW // 2 and not self.over:
            self._window += self._owed
            self.output.write(window_update(0, self._owed))
            self._owed = 0

    # Their ends

    def fault(self, stream_id: int, code: int) -> None:
        """Reset a stream for what the client did."""
        # Whoever makes us reset streams keeps us as busy as who resets them.
        self._allowance.take(RST_STREAM)
        stream = self.open.get(stream_id)
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
            self.abandoned -= 1
        elif stream.keeps_last:
            stream.drop_rest()
        elif stream.local_closed:
            if not stream.remote_closed:
                stream.drop_rest()
                return
            self._forget(stream, ENDED)
            self._look_if_idle()

    def drop_all(self, *, cancel: bool = False) -> None:
        """The connection is gone. cancel: their apps are not only told, but cancelled."""
        for stream in list(self.open.values()):
            consumer = stream.consumer
            self._drop(stream, RESET_BY_CLIENT)
            if cancel and consumer is not None:
                consumer.cancel()

    def _drop(self, stream: Stream, how: int) -> None:
        """The stream was reset, or its connection is gone: whoever is at work on it hears of it."""
        consumer = stream.consumer
        self._forget(stream, how)
        if consumer is not None:
            self.abandoned += 1
            consumer.disconnect()

    def _forget(self, stream: Stream, how: int) -> None:
        if self.open.pop(stream.id, None) is None:
            return
        self._remember(stream.id, how)
        if not stream.id & 1:
            self.pushed -= 1
        self.output.forget(stream)
        self._slow.forget(stream)
        stream.end()

    def _remember(self, stream_id: int, how: int) -> None:
        closed = self._closed
        closed[stream_id] = how
        if len(closed) > CLOSED_REMEMBERED:
            del closed[next(iter(closed))]

    def _look_if_idle(self) -> None:
        if not self.open:
            self._on_idle()

    # For a stream

    def write_begun(self, stream: Stream) -> None:
        self._slow.write_begun(stream)

    def log_later(self, access: Coroutine[Any, Any, None]) -> None:
        """Run an access log call that nobody can wait for."""
        task = self.service.loop.create_task(access)
        self._logging.add(task)
        task.add_done_callback(self._logging.discard)
