"""One request and its response, whatever HTTP they travel by, and how an ASGI app is given both.

An exchange is put together of two halves. The delivery says how the app gets the request and what it answers with:
ASGI messages here, Quart's objects in quart_exchange. The wire says what goes to the client for it: http1_exchange,
http2_exchange.
"""

from __future__ import annotations

import asyncio
import sys
from enum import Enum
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from hypercorn.utils import UnexpectedMessageError

from ...core.net.client_gone import is_of_gone, tell_gone
from ...core.request_id import enter_request
from ...core.shared.requests_table import STREAMING
from ..debugging import copies
from .app_exit import exit_called
from .waiters import Waiters, wait_among, wake

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable

    from werkzeug.datastructures import Headers

    from ..http1.large_body import Room
    from ..http1.parser import Head
    from ..http1.response import Pair
    from .body_budget import BodyBudget
    from .lane import Lane


CANCEL_GRACE_S = 1.0
"""An ASGI app whose request is over is told of a disconnect; if it goes on all the same it is cancelled after this."""


class State(Enum):
    REQUEST = 1  # nothing of a response yet
    RESPONSE = 2  # the head is made
    CLOSED = 3  # the response is complete, or never will be


# As module globals they cost one look-up instead of two.
REQUEST, RESPONSE, CLOSED = State


class Carrier(Protocol):
    """What an exchange travels by: an HTTP/1 connection, or one stream of HTTP/2."""

    lane: Lane
    client: tuple[str, int] | None
    server: tuple[str, int] | None
    scheme: str
    root_path: str
    tls: dict[str, Any] | None

    @property
    def bodies(self) -> BodyBudget | None:
        """What may be kept of bodies that handlers await; None for as much as comes."""

    @property
    def write_paused(self) -> bool:
        """Whether the client has yet to take what was written."""

    async def writable(self) -> None:
        """Return when what was written has gone far enough, or the client is gone."""

    def resume_reading(self) -> None:
        """The app took what it had been given of the body, and may want more."""

    def response_done(self, exchange: Exchange) -> None:
        """The exchange's response is complete, or as complete as it will get."""

    def expire(self, exchange: Exchange, status: int = 504) -> None:
        """The request took too long, or cannot go on: answer with the status if nothing of a response was sent."""

    def log_later(self, access: Coroutine[Any, Any, None]) -> None:
        """Run an access log call that nobody can wait for."""


def _encoded(pair: tuple[str, str]) -> tuple[bytes, bytes]:
    return pair[0].lower().encode(), pair[1].encode()


class Exchange:
    """One request and its response.

    The delivery says how the request body reaches the app (`feed`, `end_of_body`, `buffered`), what a client that went
    away means to it (`disconnect`), and what to run (`serve`). The wire says how a response is sent.
    """

    __slots__ = (
        # The deliveries': two bases that both have slots of their own could not be joined.
        "_body",
        "_buffered",
        "_complete",
        "_delivered",
        "_direct",
        "_request",
        "_waiters",
        "bytes_in",
        "bytes_out",
        "carrier",
        "disconnected",
        "entered",
        "head",
        "headers",
        "row",
        "scope",
        "stage",
        "started",
        "state",
        "status",
        "task",
        "weight",
    )

    row: int  # of the in-flight table
    stage: float

    def __init__(self, carrier: Carrier, head: Head) -> None:
        self.carrier = carrier
        self.head = head
        self.state = REQUEST
        self.status = 0
        self.headers: Iterable[Any] = ()
        self.bytes_in = head.size
        self.bytes_out = 0
        self.weight = 0  # see body_budget.Holder
        self.disconnected = False
        self.entered = False
        self.started = perf_counter()
        self.task: asyncio.Task[None] | None = None
        self.scope: dict[str, Any] = {
            "type": "http",
            "http_version": head.version,
            "asgi": {"spec_version": "2.4", "version": "3.0"},
            "method": head.method,
            "scheme": carrier.scheme,
            "path": head.path,
            "raw_path": head.raw_path,
            "query_string": head.query_string,
            "root_path": carrier.root_path,
            "headers": head.headers.copy(),
            "client": carrier.client,
            "server": carrier.server,
            "state": carrier.lane.state.copy(),
            "extensions": self.extensions(carrier.tls),
        }

    # The delivery.

    def feed(self, data: bytes) -> None:
        raise NotImplementedError

    def end_of_body(self) -> None:
        raise NotImplementedError

    def buffered(self) -> int:
        """Return how many body bytes wait for the app, as far as waiting is the app's choice."""
        raise NotImplementedError

    def room(self, left: int) -> Room | None:
        """Return where the rest of the body, `left` bytes, is best read to, if not to `feed`; then tell `landed`."""
        return None

    def landed(self, count: int) -> None:
        """So many bytes were read into the room."""
        raise NotImplementedError

    def disconnect(self) -> None:
        """The client is gone, or as good as gone. May be called more than once."""
        raise NotImplementedError

    async def serve(self) -> None:
        """Have the app make the response; returns when it has. Exceptions are the app's."""
        raise NotImplementedError

    # The wire.

    def has_body(self) -> bool:
        """Tell whether the request has a body, of any length, that is still to come."""
        raise NotImplementedError

    def extensions(self, tls: dict[str, Any] | None) -> dict[str, Any]:
        """Return scope["extensions"]."""
        raise NotImplementedError

    def pusher(self) -> Callable[[str, Headers], Awaitable[None]]:
        """Return what Quart's make_push_promise is to call."""
        raise NotImplementedError

    def start_response(self, status: int, headers: Iterable[Pair]) -> None:
        """Make the head. It is written together with the first of the body, or by `flush`. Raises ResponseError."""
        raise NotImplementedError

    def flush(self) -> None:
        """Write the head if it still waits for a body."""
        raise NotImplementedError

    def send_body(self, data: bytes, more: bool) -> None:
        """Write a part of the body; `more` False ends the response. Raises ResponseError on a wrong length.

        Does not wait: see Carrier.write_paused.
        """
        raise NotImplementedError

    def answer_empty(self, status: int) -> None:
        """Write the whole of an empty response that ends what can be ended of the connection."""
        raise NotImplementedError

    def break_off(self) -> None:
        """End a response midway so that nobody can take it for complete."""
        raise NotImplementedError

    # The course of things.

    def refuse(self, status: int) -> None:
        """Answer without asking the app."""
        self.state = CLOSED
        self.status = status
        self.answer_empty(status)
        self._settle({"status": status, "headers": []})

    def abandon(self) -> None:
        """End a request that never came to the app."""
        lane = self.carrier.lane
        self._give_up()
        lane.running -= 1
        if lane.draining:
            lane.look_if_drained()

    def cancel(self) -> None:
        """Cancel the app. A task that never ran cannot clean up behind itself, so `run` looks for `disconnected`."""
        if self.entered and self.task is not None:
            self.task.cancel()

    def stop(self) -> None:
        """The request has been answered without the app, which need not go on with it."""
        self.cancel()

    # body_budget.Holder

    def go_on(self) -> None:
        self.carrier.resume_reading()

    def turn_away(self) -> None:
        if not self.disconnected:
            self.carrier.expire(self, 503)

    async def run(self) -> None:
        self.entered = True
        lane = self.carrier.lane
        if lane.request_ids:
            # The last one: see request_ids.with_request_id.
            enter_request(self.head.headers[-1][1].decode())
        try:
            await self.serve()
        except asyncio.CancelledError:
            raise
        except SystemExit as error:  # out of a task it would end the loop, and all requests with it
            if copies.is_one:
                copies.leave(error)
            await lane.config.log.error(exit_called(error, self.scope))
        except Exception as error:
            if copies.is_one:
                copies.leave(error)
            if not (self.disconnected and is_of_gone(error)):
                await lane.config.log.exception("Error in ASGI Framework")
        finally:
            if copies.is_one:
                copies.leave(sys.exception())
            if self.state is not CLOSED:
                self._give_up()
            if lane.overload is not None:
                lane.overload.ended(self)
            if self.weight and (bodies := self.carrier.bodies) is not None:
                bodies.forget(self)
            self.task = None  # cancelled, it keeps the exception, whose traceback leads back to this object
            lane.running -= 1
            if lane.draining:
                lane.look_if_drained()

    async def end(self) -> None:
        """The response is complete: log it, and let the connection go on."""
        carrier = self.carrier
        lane = carrier.lane
        self.state = CLOSED
        seconds = perf_counter() - self.started
        lane.counters.request_finished(self.status, self.bytes_in, self.bytes_out, seconds)
        if lane.table is not None:
            lane.table.end(self)
        if lane.access is not None:
            headers = [pair if isinstance(pair[0], bytes) else _encoded(pair) for pair in self.headers]
            response = {"type": "http.response.start", "status": self.status, "headers": headers}
            await lane.access(self.scope, response, seconds)
        carrier.response_done(self)

    def _give_up(self) -> None:
        """The app is done, the response is not: a 500 where nothing was sent yet, else it ends where it is."""
        if self.state is REQUEST and not self.disconnected:
            self.refuse(500)
            return
        self.flush()
        self.state = CLOSED
        self.break_off()
        self._settle(None)

    def _settle(self, response: dict[str, Any] | None) -> None:
        """Count and log what ended otherwise than by `end`. response: for the access log."""
        carrier = self.carrier
        lane = carrier.lane
        seconds = perf_counter() - self.started
        lane.counters.request_finished(self.status, self.bytes_in, self.bytes_out, seconds)
        if lane.table is not None:
            lane.table.end(self)
        if lane.access is not None:
            carrier.log_later(lane.access(self.scope, response, seconds))
        carrier.response_done(self)


class ASGIDelivery(Exchange):
    """The delivery to any ASGI app, by messages."""

    __slots__ = ()

    _body: list[bytes]
    _buffered: int
    _complete: bool
    _delivered: bool
    _waiters: Waiters

    def __init__(self, carrier: Carrier, head: Head) -> None:
        super().__init__(carrier, head)
        self._body = []
        self._buffered = 0  # bytes in it; added up each time, a flood of tiny parts would cost their square
        self._complete = False
        self._delivered = False
        self._waiters = []

    def feed(self, data: bytes) -> None:
        self.bytes_in += len(data)
        self._buffered += len(data)
        self._body.append(data)
        wake(self._waiters)

    def end_of_body(self) -> None:
        self._complete = True
        wake(self._waiters)

    def buffered(self) -> int:
        return self._buffered

    def disconnect(self) -> None:
        self.disconnected = True
        wake(self._waiters)

    def stop(self) -> None:
        """Tell the app as of a disconnect, and cancel it only if it goes on.

        Quart's own path hears that and ends its handler. Cancelled at once it would leave the handler running: it is
        waited for with asyncio.wait, which does not pass a cancellation on.
        """
        self.disconnect()
        if self.entered and self.task is not None:
            self.carrier.lane.loop.call_later(CANCEL_GRACE_S, self.task.cancel)

    async def serve(self) -> None:
        await self.carrier.lane.app(self.scope, self.receive, self.send)

    async def receive(self) -> dict[str, Any]:
        while True:
            if self._body or (self._complete and not self._delivered):
                body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
                self._body.clear()
                self._buffered = 0
                self._delivered = self._complete
                self.carrier.resume_reading()
                return {"type": "http.request", "body": body, "more_body": not self._complete}
            if self.disconnected or self.state is CLOSED:
                return {"type": "http.disconnect"}
            self.carrier.resume_reading()
            await wait_among(self._waiters, self.carrier.lane.loop)

    async def send(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if self.disconnected:
            await tell_gone()
        if kind == "http.response.body" and self.state is RESPONSE:
            more = message.get("more_body", False)
            table = self.carrier.lane.table
            if more and table is not None:
                table.stage(self, STREAMING)
            self.send_body(bytes(message.get("body", b"")), more)
            if self.carrier.write_paused:
                await self.carrier.writable()
            if not more and self.state is RESPONSE:
                await self.end()
                wake(self._waiters)
        elif kind == "http.response.start" and self.state is REQUEST:
            self.start_response(int(message["status"]), message.get("headers", ()))
            # Hypercorn sends the head at once. Here it waits for the body, but not beyond this turn of the loop.
            self.carrier.lane.loop.call_soon(self.flush)
        else:
            raise UnexpectedMessageError(self.state, kind)
