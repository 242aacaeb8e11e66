"""One request and its response, whatever HTTP they travel by.

An exchange is put together of two halves. The delivery says how the app gets the request and what it answers with: by
ASGI messages (asgi), or by Quart's objects (aeros/quart/delivery). The wire says what goes to the client for it
(http1/exchange, http2/exchange).
"""

from __future__ import annotations

import asyncio
import sys
from enum import Enum
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from ...core.net.client_gone import is_of_gone
from ...core.request_id import enter_request
from ..debugging import copies
from ..report.access_log import ROUTE, SENT, route_of
from .app_exit import exit_called
from .overload import RETRY_AFTER

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable

    from werkzeug.datastructures import Headers

    from .body_budget import BodyBudget
    from .head import Head, Pair
    from .service import Service


class State(Enum):
    REQUEST = 1  # nothing of a response yet
    RESPONSE = 2  # the head is made
    CLOSED = 3  # the response is complete, or never will be


# As module globals they cost one look-up instead of two.
REQUEST, RESPONSE, CLOSED = State


class Carrier(Protocol):
    """What an exchange travels by: an HTTP/1 connection, or one stream of HTTP/2."""

    service: Service
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
            "headers": [*head.headers],
            "client": carrier.client,
            "server": carrier.server,
            "state": {**carrier.service.state},
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

    def send_whole(self, status: int, headers: Iterable[Pair], data: bytes) -> None:
        """Write head and whole body. Raises ResponseError."""
        self.start_response(status, headers)
        self.send_body(data, False)

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
        self._give_up()
        self.carrier.service.connections.app_ended()

    def decline(self) -> None:
        """Answer 503 without asking the app: it has too much to do. The connection goes on."""
        headers = [(b"content-length", b"0"), RETRY_AFTER]
        self.start_response(503, headers)
        self.send_body(b"", False)
        self.state = CLOSED
        self._settle({"status": 503, "headers": headers})

    def out_of_time(self) -> None:
        """The request took longer than --request-timeout allows."""
        self.carrier.expire(self)

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
        service = self.carrier.service
        if service.request_ids:
            # The last one: see request_ids.with_request_id.
            enter_request(self.head.headers[-1][1].decode())
        try:
            await self.serve()
        except asyncio.CancelledError:
            raise
        except SystemExit as error:  # out of a task it would end the loop, and all requests with it
            if copies.is_one:
                copies.leave(error)
            await service.config.log.error(exit_called(error, self.scope))
        except Exception as error:
            if copies.is_one:
                copies.leave(error)
            if not (self.disconnected and is_of_gone(error)):
                if service.routes is not None:
                    service.routes.note(error, self.head.method, self.route())
                await service.config.log.exception("Error in ASGI Framework")
        finally:
            if copies.is_one:
                copies.leave(sys.exception())
            if self.state is not CLOSED:
                self._give_up()
            if service.overload is not None:
                service.overload.ended(self)
            if self.weight and (bodies := self.carrier.bodies) is not None:
                bodies.forget(self)
            self.task = None  # cancelled, it keeps the exception, whose traceback leads back to this object
            service.connections.app_ended()

    async def end(self) -> None:
        """The response is complete: log it, and let the connection go on."""
        carrier = self.carrier
        service = carrier.service
        self.state = CLOSED
        seconds = perf_counter() - self.started
        service.counters.request_finished(self.status, self.bytes_in, self.bytes_out, seconds)
        if service.table is not None:
            service.table.end(self)
        if service.routes is not None:
            service.routes.count(self.head.method, self.route(), self.status, seconds)
        if service.access is not None:
            headers = [pair if isinstance(pair[0], bytes) else _encoded(pair) for pair in self.headers]
            response = {"type": "http.response.start", "status": self.status, "headers": headers}
            self._note()
            await service.access(self.scope, response, seconds)
        carrier.response_done(self)

    def route(self) -> str | None:
        """Return the rule that the request has met, as the framework writes it; None if it has met none."""
        return route_of(self.scope)

    def _note(self) -> None:
        """Put into the scope what only this object knows and the access log shows."""
        self.scope[ROUTE], self.scope[SENT] = self.route(), self.bytes_out

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
        service = carrier.service
        seconds = perf_counter() - self.started
        service.counters.request_finished(self.status, self.bytes_in, self.bytes_out, seconds)
        if service.table is not None:
            service.table.end(self)
        if service.routes is not None:
            service.routes.count(self.head.method, self.route(), self.status, seconds)
        if service.access is not None:
            self._note()
            carrier.log_later(service.access(self.scope, response, seconds))
        carrier.response_done(self)
