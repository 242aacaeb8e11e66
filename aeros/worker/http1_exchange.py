"""One request and its response on an HTTP/1.x connection, and how an ASGI app is given both."""

from __future__ import annotations

import asyncio
from enum import Enum
from time import perf_counter
from typing import TYPE_CHECKING, Any

from hypercorn.utils import UnexpectedMessageError

from ..core.inflight import STREAMING
from .http1_response import CHUNKED, UNTIL_CLOSE, Pair, ResponseError, error_response, has_no_body, response_head

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .http1 import HTTP1Connection
    from .http1_parser import Head

JOIN_MAX = 1 << 16
"""Bytes of body that are copied behind the head for the sake of one write; more goes out as it is."""


class State(Enum):
    REQUEST = 1  # nothing of a response yet
    RESPONSE = 2  # the head is made
    CLOSED = 3  # the response is complete, or never will be


# As module globals they cost one look-up instead of two.
REQUEST, RESPONSE, CLOSED = State


def _encoded(pair: tuple[str, str]) -> tuple[bytes, bytes]:
    return pair[0].lower().encode(), pair[1].encode()


class Exchange:
    """One request and its response; knows the framing of the body, not who makes it.

    Subclasses say how the request body reaches the app (`feed`, `end_of_body`, `buffered`), what a client that went
    away means to it (`disconnect`), and what to run.
    """

    __slots__ = (
        "bytes_in",
        "bytes_out",
        "connection",
        "disconnected",
        "entered",
        "head",
        "headers",
        "held",
        "keep_alive",
        "remaining",
        "row",
        "scope",
        "stage",
        "started",
        "state",
        "status",
        "task",
    )

    row: int  # of the in-flight table
    stage: float

    def __init__(self, connection: HTTP1Connection, head: Head) -> None:
        self.connection = connection
        self.head = head
        self.state = REQUEST
        self.status = 0
        self.headers: Iterable[Any] = ()
        self.held = b""
        self.remaining = 0
        self.keep_alive = head.keep_alive
        self.bytes_in = head.size
        self.bytes_out = 0
        self.disconnected = False
        self.entered = False
        self.started = perf_counter()
        self.task: asyncio.Task[None] | None = None
        lane = connection.lane
        self.scope: dict[str, Any] = {
            "type": "http",
            "http_version": head.version,
            "asgi": {"spec_version": "2.1", "version": "3.0"},
            "method": head.method,
            "scheme": connection.scheme,
            "path": head.path,
            "raw_path": head.raw_path,
            "query_string": head.query_string,
            "root_path": connection.root_path,
            "headers": head.headers.copy(),
            "client": connection.client,
            "server": connection.server,
            "state": lane.state.copy(),
            "extensions": {} if connection.tls is None else {"tls": connection.tls},
        }

    # The request body, as the connection reads it.

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

    def refuse(self, status: int) -> None:
        """Answer without asking the app, and end the connection."""
        connection = self.connection
        lane = connection.lane
        self.state = CLOSED
        self.status = status
        self.keep_alive = False
        data = error_response(status, lane.common.block(), self.head.keep_alive)
        self.bytes_out += len(data)
        connection.transport.write(data)
        seconds = perf_counter() - self.started
        lane.counters.request_finished(status, self.bytes_in, self.bytes_out, seconds)
        if lane.table is not None:
            lane.table.end(self)
        if lane.access is not None:
            connection.log_later(lane.access(self.scope, {"status": status, "headers": []}, seconds))
        connection.response_done(self)

    def abandon(self) -> None:
        """End a request that never came to the app."""
        lane = self.connection.lane
        self._give_up()
        lane.running -= 1
        if lane.draining:
            lane.look_if_drained()

    def cancel(self) -> None:
        """Cancel the app. A task that never ran cannot clean up behind itself, so `run` looks for `disconnected`."""
        if self.entered and self.task is not None:
            self.task.cancel()

    async def run(self) -> None:
        self.entered = True
        lane = self.connection.lane
        try:
            await self.serve()
        except asyncio.CancelledError:
            raise
        except Exception:
            await lane.config.log.exception("Error in ASGI Framework")
        finally:
            if self.state is not CLOSED:
                self._give_up()
            if lane.overload is not None:
                lane.overload.ended(self)
            lane.running -= 1
            if lane.draining:
                lane.look_if_drained()

    # The response.

    def start_response(self, status: int, headers: Iterable[Pair]) -> None:
        """Make the head. It is written together with the first of the body, or by `flush`. Raises ResponseError."""
        connection = self.connection
        lane = connection.lane
        head = self.head
        if lane.request_ids:
            from .request_ids import with_echo

            headers = with_echo(self.scope, headers)
        last = lane.farewell or connection.requests >= lane.keep_alive_max_requests
        self.held, self.remaining, self.keep_alive = response_head(
            status,
            headers,
            lane.common.block(),
            method=head.method,
            version=head.version,
            keep_alive=head.keep_alive,
            last=last,
        )
        self.status = status
        self.headers = headers
        self.state = RESPONSE

    def flush(self) -> None:
        """Write the head if it still waits for a body."""
        held = self.held
        if held and not self.disconnected:
            self.held = b""
            self.bytes_out += len(held)
            self.connection.transport.write(held)

    def send_body(self, data: bytes, more: bool) -> None:
        """Write a part of the body; `more` False ends the response. Raises ResponseError on a wrong length.

        Does not wait: see HTTP1Connection.write_paused.
        """
        remaining = self.remaining
        if remaining >= 0:
            if data:
                if has_no_body(self.head.method, self.status):
                    data = b""
                elif len(data) > remaining:
                    self.flush()
                    raise ResponseError("Too much data for declared Content-Length")
                else:
                    remaining = self.remaining = remaining - len(data)
        elif remaining == CHUNKED:
            if more:
                data = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            elif data:
                data = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)
            else:
                data = b"0\r\n\r\n"
            remaining = 0
        else:
            remaining = 0
        held = self.held
        if held:
            if len(data) < JOIN_MAX:
                data = held + data
            else:
                self.flush()
            self.held = b""
        if data and not self.disconnected:
            self.bytes_out += len(data)
            self.connection.transport.write(data)
        if not more and remaining and not has_no_body(self.head.method, self.status):
            raise ResponseError("Too little data for declared Content-Length")

    async def end(self) -> None:
        """The response is complete: log it, and let the connection go on to the next request."""
        connection = self.connection
        lane = connection.lane
        self.state = CLOSED
        seconds = perf_counter() - self.started
        lane.counters.request_finished(self.status, self.bytes_in, self.bytes_out, seconds)
        if lane.table is not None:
            lane.table.end(self)
        if lane.access is not None:
            headers = [pair if isinstance(pair[0], bytes) else _encoded(pair) for pair in self.headers]
            response = {"type": "http.response.start", "status": self.status, "headers": headers}
            await lane.access(self.scope, response, seconds)
        connection.response_done(self)

    def _give_up(self) -> None:
        """The app is done, the response is not: a 500 where nothing was sent yet, and the connection ends."""
        if self.state is REQUEST and not self.disconnected:
            self.refuse(500)
            return
        self.flush()
        connection = self.connection
        lane = connection.lane
        self.state = CLOSED
        self.keep_alive = False
        seconds = perf_counter() - self.started
        lane.counters.request_finished(self.status, self.bytes_in, self.bytes_out, seconds)
        if lane.table is not None:
            lane.table.end(self)
        if lane.access is not None:
            connection.log_later(lane.access(self.scope, None, seconds))
        connection.response_done(self)


class ASGIExchange(Exchange):
    """An exchange with any ASGI app, by messages."""

    __slots__ = ("_body", "_complete", "_delivered", "_waiters")

    def __init__(self, connection: HTTP1Connection, head: Head) -> None:
        super().__init__(connection, head)
        self._body: list[bytes] = []
        self._complete = False
        self._delivered = False
        self._waiters: list[asyncio.Future[None]] = []

    def feed(self, data: bytes) -> None:
        self.bytes_in += len(data)
        self._body.append(data)
        self._wake()

    def end_of_body(self) -> None:
        self._complete = True
        self._wake()

    def buffered(self) -> int:
        return sum(map(len, self._body))

    def disconnect(self) -> None:
        self.disconnected = True
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    async def serve(self) -> None:
        await self.connection.lane.app(self.scope, self.receive, self.send)

    async def receive(self) -> dict[str, Any]:
        while True:
            if self._body or (self._complete and not self._delivered):
                body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
                self._body.clear()
                self._delivered = self._complete
                self.connection.resume_reading()
                return {"type": "http.request", "body": body, "more_body": not self._complete}
            if self.disconnected or self.state is CLOSED:
                return {"type": "http.disconnect"}
            waiter = self.connection.lane.loop.create_future()
            self._waiters.append(waiter)
            await waiter

    async def send(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "http.response.body" and self.state is RESPONSE:
            more = message.get("more_body", False)
            table = self.connection.lane.table
            if more and table is not None:
                table.stage(self, STREAMING)
            self.send_body(bytes(message.get("body", b"")), more)
            if self.connection.write_paused:
                await self.connection.writable()
            if not more and self.state is RESPONSE:
                await self.end()
                self._wake()
        elif kind == "http.response.start" and self.state is REQUEST:
            self.start_response(int(message["status"]), message.get("headers", ()))
            # Hypercorn sends the head at once. Here it waits for the body, but not beyond this turn of the loop.
            self.connection.lane.loop.call_soon(self.flush)
        elif self.state is not CLOSED or not self.disconnected:
            raise UnexpectedMessageError(self.state, kind)


__all__ = ["CHUNKED", "CLOSED", "REQUEST", "RESPONSE", "UNTIL_CLOSE", "ASGIExchange", "Exchange", "State"]
