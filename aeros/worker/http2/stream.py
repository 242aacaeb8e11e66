"""One stream of HTTP/2: its two windows, what waits to be sent on it, and who answers. An exchange travels by it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from ...core.shared.requests_table import HANDLING
from ..http1.leftover import REST_WINDOW_S, Leftover
from ..lane.exchange import REQUEST, Exchange
from ..lane.waiters import Waiters, wait_among, wake
from .frames import FLOW_CONTROL_ERROR, INTERNAL_ERROR, NO_ERROR, PROTOCOL_ERROR, StreamFault, window_update
from .hpack_encoder import informational_block

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from werkzeug.datastructures import Headers

    from ..lane.body_budget import BodyBudget
    from ..lane.service import Peer, Service
    from .hpack_decoder import Field
    from .hpack_encoder import CommonFields
    from .output import Output

WINDOW = 256 << 10
"""Bytes a client may send on one stream before the app has taken some of them."""

PAUSE_S = 1.0
"""The end of a response waits for the end of the request's body while that comes at an honest rate in this time."""

READ_AHEAD = 1 << 16
"""Bytes of a body its app has not taken up to which more is asked for."""


class Consumer(Protocol):
    """Who takes what comes in on a stream: an exchange, or a WebSocket."""

    def feed(self, data: bytes) -> None: ...
    def end_of_body(self) -> None: ...
    def buffered(self) -> int: ...
    def disconnect(self) -> None: ...
    def cancel(self) -> None: ...

    weight: int  # see body_budget.Holder


class Owner(Protocol):
    """All streams of the connection, as one of them sees them."""

    service: Service
    peer: Peer
    common: CommonFields
    output: Output

    @property
    def bodies(self) -> BodyBudget | None: ...

    def release(self, size: int) -> None:
        """Let the client send as much again on the connection."""

    def reset(self, stream: Stream, code: int) -> None: ...
    def answered(self, stream: Stream) -> None: ...

    def write_begun(self, stream: Stream) -> None:
        """More is to be sent on it than its window, or the transport, has room for."""

    def promise(self, stream: Stream, path: str, headers: Iterable[Field]) -> None:
        """Promise the response to a GET of the path."""

    def log_later(self, access: Coroutine[Any, Any, None]) -> None: ...


class Stream:
    """One stream. The connection reads its frames, and calls; the exchange on it writes."""

    __slots__ = (
        "_last",
        "_leftover",
        "_waiters",
        "client",
        "consumer",
        "expected",
        "expects",
        "gone",
        "held",
        "host",
        "id",
        "lent",
        "local_closed",
        "output",
        "owed",
        "pending",
        "pending_end",
        "receive_window",
        "received",
        "remote_closed",
        "root_path",
        "scheme",
        "send_window",
        "sent",
        "server",
        "service",
        "streams",
        "tls",
    )

    host: bytes

    def __init__(self, streams: Owner, stream_id: int, remote_closed: bool) -> None:
        self.streams = streams
        self.output = streams.output
        self.id = stream_id
        self.service = streams.service
        peer = streams.peer
        self.client = peer.client
        self.server = peer.server
        self.scheme = peer.scheme
        self.root_path = peer.root_path
        self.tls = peer.tls
        self.consumer: Consumer | None = None
        self.expected: int | None = None  # bytes of the body, if the client said how many
        self.expects = False  # the client waits for a 100 before it sends its body
        self.remote_closed = remote_closed
        self.local_closed = False
        self.gone = False  # reset by either side, or with its connection
        self.send_window = streams.output.initial_window
        self.sent = 0  # of a body that did not go at once
        self.receive_window = WINDOW
        self.received = 0
        self.held = 0  # received and not taken by the app: the client may not send as much again
        self.lent = 0  # of it, what may be sent again on other streams
        self.owed = 0  # taken, and the client not told yet
        self.pending: deque[memoryview] | None = None  # waits for a window or the transport
        self.pending_end = False
        self._waiters: Waiters | None = None
        self._leftover: Leftover | None = None  # of a request that has been answered
        self._last: bytes | None = None  # of the response's body, if it waits for the end of the request's

    # The request body

    @property
    def bodies(self) -> BodyBudget | None:
        return self.streams.bodies

    def take(self, data: bytes, size: int) -> bool:
        """Take the payload of a DATA frame; tell whether the request goes on. Raises StreamFault.

        size: what of the window it used up.
        """
        self.receive_window -= size
        if self.receive_window < 0:
            raise StreamFault(FLOW_CONTROL_ERROR, "more than the stream's window")
        consumer = self.consumer
        self._give(consumer, data, size)
        if self.gone:
            return False
        limit = self.service.limits.body_bytes
        if limit is not None and self.received > limit and isinstance(consumer, Exchange):
            self.give_up(consumer, 413)
            consumer.stop()
            return False
        return True

    def _give(self, consumer: Consumer | None, data: bytes, size: int) -> None:
        self.expects = False
        self.received += len(data)
        self.held += size
        if self.expected is not None and consumer is not None and self.received > self.expected:
            raise StreamFault(PROTOCOL_ERROR, "more of a body than its content-length")
        if consumer is None:
            self.release()
            if self._leftover is not None:
                self._leftover.drop(size)
            return
        if data:
            consumer.feed(data)
        if consumer.buffered() <= READ_AHEAD:
            self.release()
        elif consumer.weight:
            # Held by the budget, which may let another stream of this connection go on. It needs the connection's
            # window; what it lets the client send besides, the streams' own windows bound.
            self.streams.release(self.held - self.lent)
            self.lent = self.held

    def release(self) -> None:
        """Let the client send as much again as was taken."""
        held = self.held
        if not held:
            return
        lent, self.lent, self.held = self.lent, 0, 0
        if not self.remote_closed and not self.gone:
            self.owed += held
            if self.owed >= WINDOW // 2:
                self.receive_window += self.owed
                self.output.write(window_update(self.id, self.owed))
                self.owed = 0
        self.streams.release(held - lent)

    def end_of_body(self) -> None:
        """The client has sent all of it. Raises StreamFault."""
        consumer = self.consumer
        if self.expected is not None and consumer is not None and self.received != self.expected:
            raise StreamFault(PROTOCOL_ERROR, "less of a body than its content-length")
        if isinstance(consumer, Exchange) and self.service.table is not None:
            self.service.table.stage(consumer, HANDLING)
        self.remote_closed = True
        if consumer is not None:
            consumer.end_of_body()
        elif self.local_closed:
            self.streams.answered(self)
        self.send_last()

    def resume_reading(self) -> None:
        """The app took what it had been given, and may want more."""
        if self.expects:
            self.send_headers(informational_block(100, (), b""), False)
        if self.held and (self.consumer is None or self.consumer.buffered() <= READ_AHEAD):
            self.release()

    def drop_rest(self) -> None:
        """The request is answered: read what is left of it, and drop it.

        A reset may be sent instead (RFC 9113 section 8.1). But curl 7.88, and others, take one that comes with the
        response for a failure, so it is kept for clients that send on and on.
        """
        rate = self.service.limits.min_data_rate
        if self._last is not None:
            self._leftover = Leftover(self.service.loop, rate, PAUSE_S, self.send_last)
        else:
            self._leftover = Leftover(self.service.loop, rate, REST_WINDOW_S, lambda: self.reset(NO_ERROR))
        self.release()

    def send_last(self) -> None:
        """Send the end of the response, if it was kept back."""
        last, self._last = self._last, None
        if last is not None:
            if self._leftover is not None:
                self._leftover.stop()
            self.send_data(last, True)

    # The response

    @property
    def write_paused(self) -> bool:
        return (self.pending is not None or self.output.write_paused) and not self.gone

    async def writable(self) -> None:
        """Return when what was written has gone, or the client is."""
        while self.write_paused:
            if self._waiters is None:
                self._waiters = []
            await wait_among(self._waiters, self.service.loop)

    def wake(self) -> None:
        if self._waiters is not None:
            wake(self._waiters)

    def send_headers(self, block: bytes, end: bool) -> None:
        self.expects = False
        if not self.gone and not self.local_closed:
            self.output.send_headers(self, block, end)

    def send_data(self, data: bytes, end: bool) -> None:
        if not self.gone and not self.local_closed:
            self.output.send_data(self, data, end)
            if self.pending is not None:
                self.streams.write_begun(self)

    def send_end(self, data: bytes) -> None:
        """Send the last of a good response's body, once the client has sent the last of its request's.

        curl 7.88 reads no more when it has a whole response: then it never learns that it may send the rest of its
        body, and waits for that for ever. Only an error makes it stop sending.
        """
        if self.remote_closed or self.gone or self.local_closed:
            self.send_data(data, True)
        else:
            self._last = data

    @property
    def keeps_last(self) -> bool:
        """Whether the response is complete, and its end waits for the client."""
        return self._last is not None

    def close_local(self) -> None:
        """The last of the response was written."""
        self.local_closed = True
        if self.consumer is None:
            self.streams.answered(self)

    def reset(self, code: int) -> None:
        if not self.gone:
            self.streams.reset(self, code)

    async def push(self, path: str, headers: Headers) -> None:
        """What Quart's make_push_promise calls."""
        self.promise(path, [(name.lower().encode(), value.encode()) for name, value in headers])

    def promise(self, path: str, headers: Iterable[Field]) -> None:
        """Promise the response to a GET of the path. Nothing, where the client wants none."""
        self.streams.promise(self, path, headers)

    def end(self) -> None:
        """The stream is over, whoever ended it."""
        self.gone = True
        self._last = None
        if self._leftover is not None:
            self._leftover.stop()
        self.pending = None
        self.release()
        self.wake()

    # exchange.Carrier

    def response_done(self, exchange: Exchange) -> None:
        self.consumer = None
        self.streams.answered(self)

    def expire(self, exchange: Exchange, status: int = 504) -> None:
        if self.consumer is exchange:
            self.give_up(exchange, status)
        exchange.stop()

    def give_up(self, exchange: Exchange, status: int) -> None:
        """Answer with the status where nothing of a response was sent, else end the stream there."""
        if exchange.state is REQUEST:
            exchange.status = status
            exchange.answer_empty(status)
        else:
            self.reset(INTERNAL_ERROR)
        exchange.disconnect()

    def log_later(self, access: Coroutine[Any, Any, None]) -> None:
        self.streams.log_later(access)
