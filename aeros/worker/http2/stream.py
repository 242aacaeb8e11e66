"""One stream of HTTP/2: its two windows, what waits to be sent on it, and who answers. An exchange travels by it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from ..http1.leftover import REST_WINDOW_S, Leftover
from ..lane.exchange import REQUEST
from ..lane.waiters import Waiters, wait_among, wake
from .frames import INTERNAL_ERROR, NO_ERROR, PROTOCOL_ERROR, StreamFault, window_update
from .hpack_encoder import informational_block

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from werkzeug.datastructures import Headers

    from ..lane.body_budget import BodyBudget
    from ..lane.exchange import Exchange
    from .connection import HTTP2Connection

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


class Stream:
    """One stream. The connection reads its frames, and calls; the exchange on it writes."""

    __slots__ = (
        "_last",
        "_leftover",
        "_waiters",
        "client",
        "connection",
        "consumer",
        "expects",
        "gone",
        "held",
        "host",
        "id",
        "lane",
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
        "tls",
    )

    host: bytes

    def __init__(self, connection: HTTP2Connection, stream_id: int, remote_closed: bool) -> None:
        self.connection = connection
        self.output = connection.output
        self.id = stream_id
        self.lane = connection.lane
        self.client = connection.client
        self.server = connection.server
        self.scheme = connection.scheme
        self.root_path = connection.root_path
        self.tls = connection.tls
        self.consumer: Consumer | None = None
        self.expects = False  # the client waits for a 100 before it sends its body
        self.remote_closed = remote_closed
        self.local_closed = False
        self.gone = False  # reset by either side, or with its connection
        self.send_window = connection.output.initial_window
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
        return self.connection.bodies

    def take(self, data: bytes, size: int, expected: int | None) -> None:
        """Take the payload of a DATA frame. size: what of the window it used up. Raises StreamFault."""
        self.expects = False
        self.received += len(data)
        self.held += size
        if expected is not None and self.received > expected:
            raise StreamFault(PROTOCOL_ERROR, "more of a body than its content-length")
        consumer = self.consumer
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
            self.connection.release(self.held - self.lent)
            self.lent = self.held

    def release(self) -> None:
        """Let the client send as much again as was taken."""
        held = self.held
        if not held:
            return
        lent, self.lent, self.held = self.lent, 0, 0
        connection = self.connection
        if not self.remote_closed and not self.gone:
            self.owed += held
            if self.owed >= WINDOW // 2:
                self.receive_window += self.owed
                self.output.write(window_update(self.id, self.owed))
                self.owed = 0
        connection.release(held - lent)

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
        rate = self.lane.limits.min_data_rate
        if self._last is not None:
            self._leftover = Leftover(self.lane.loop, rate, PAUSE_S, self.send_last)
        else:
            self._leftover = Leftover(self.lane.loop, rate, REST_WINDOW_S, lambda: self.reset(NO_ERROR))
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
            await wait_among(self._waiters, self.lane.loop)

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
                self.connection.watched().write_begun(self)

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
            self.connection.answered(self)

    def reset(self, code: int) -> None:
        if not self.gone:
            self.connection.reset(self, code)

    async def push(self, path: str, headers: Headers) -> None:
        """What Quart's make_push_promise calls."""
        from .push import promise

        promise(self, path, [(name.lower().encode(), value.encode()) for name, value in headers])

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
        self.connection.answered(self)

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
        self.connection.log_later(access)
