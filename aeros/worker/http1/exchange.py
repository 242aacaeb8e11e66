"""The wire of HTTP/1.x: how an exchange's response is framed, and what becomes of the connection behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ..lane.asgi import ASGIDelivery
from ..lane.exchange import REQUEST, RESPONSE, Carrier, Exchange
from .response import CHUNKED, ResponseError, error_response, has_no_body, response_head

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Iterable

    from werkzeug.datastructures import Headers

    from ..lane.head import Head, Pair
    from .large_body import Room

JOIN_MAX = 1 << 16
"""Bytes of body that are copied behind the head for the sake of one write; more is left to the transport to join."""


async def no_push(path: str, headers: Headers) -> None:
    """HTTP/1 has no server push; Quart's own does nothing either without the extension."""


class HTTP1Carrier(Carrier, Protocol):
    """A connection of HTTP/1 as its exchanges see it. requests: how many it has carried, this one included."""

    transport: asyncio.Transport
    requests: int

    def is_last(self, status: int) -> bool:
        """Tell, as the head of a response is made, whether it must say that the connection ends behind it."""

    def break_off(self) -> None:
        """End the connection within a response, unless it is ending already."""


class HTTP1Exchange(Exchange):
    """One request and its response on an HTTP/1.x connection; knows the framing of the body, not who makes it."""

    __slots__ = ("held", "keep_alive", "remaining")

    carrier: HTTP1Carrier

    def __init__(self, carrier: Carrier, head: Head) -> None:
        super().__init__(carrier, head)
        self.held = b""
        self.remaining = 0
        self.keep_alive = head.keep_alive

    def has_body(self) -> bool:
        return self.head.has_body

    def room(self, left: int) -> Room | None:
        """Return where the rest of the body, `left` bytes, is best read to, if not to `feed`; then tell `landed`."""
        return None

    def landed(self, count: int) -> None:
        """So many bytes were read into the room."""
        raise NotImplementedError

    def extensions(self, tls: dict[str, Any] | None) -> dict[str, Any]:
        return {} if tls is None else {"tls": tls}

    def pusher(self) -> Callable[[str, Headers], Awaitable[None]]:
        return no_push

    def answer_empty(self, status: int) -> None:
        self.keep_alive = False
        carrier = self.carrier
        data = error_response(status, carrier.service.common.block(), self.head.keep_alive)
        self.bytes_out += len(data)
        carrier.transport.write(data)

    def break_off(self) -> None:
        self.keep_alive = False
        self.carrier.break_off()

    def start_response(self, status: int, headers: Iterable[Pair]) -> None:
        """Make the head. It is written together with the first of the body, or by `flush`. Raises ResponseError."""
        carrier = self.carrier
        service = carrier.service
        head = self.head
        if service.request_ids:
            from ..lane.request_ids import with_echo

            headers = with_echo(self.scope, headers)
        last = (
            service.connections.farewell
            or carrier.requests >= service.keep_alive_max_requests
            or carrier.is_last(status)
        )
        self.held, self.remaining, self.keep_alive = response_head(
            status,
            headers,
            service.common.block(),
            method=head.method,
            version=head.version,
            keep_alive=head.keep_alive,
            last=last,
        )
        self.status = status
        self.headers = headers
        self.state = RESPONSE

    def send_whole(self, status: int, headers: Iterable[Pair], data: bytes) -> None:
        """Write head and whole body, at once where they are short. Raises ResponseError."""
        self.start_response(status, headers)
        if 0 < self.remaining == len(data) < JOIN_MAX and not self.disconnected:
            self.remaining = 0
            data, self.held = self.held + data, b""
            self.bytes_out += len(data)
            self.carrier.transport.write(data)
        else:
            self.send_body(data, False)

    def flush(self) -> None:
        """Write the head if it still waits for a body."""
        held = self.held
        if held and not self.disconnected:
            self.held = b""
            self.bytes_out += len(held)
            self.carrier.transport.write(held)

    def send_body(self, data: bytes, more: bool) -> None:
        """Write a part of the body; `more` False ends the response. Raises ResponseError on a wrong length.

        Does not wait: see HTTP1Connection.write_paused.
        """
        remaining = self.remaining
        if remaining >= 0:
            if has_no_body(self.head.method, self.status):
                data = b""
            elif len(data) > remaining or (not more and len(data) < remaining):
                self.reconsider()
                raise ResponseError(
                    f"Too {'little' if len(data) < remaining else 'much'} data for declared Content-Length"
                )
            else:
                self.remaining = remaining - len(data)
        elif remaining == CHUNKED:
            if more:
                data = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            elif data:
                data = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)
            else:
                data = b"0\r\n\r\n"
        held = self.held
        if held:
            self.held = b""
            if len(data) < JOIN_MAX:
                data = held + data
            elif not self.disconnected:
                self.bytes_out += len(held) + len(data)
                if self.carrier.service.gathers:
                    self.carrier.transport.writelines((held, data))
                else:
                    self.carrier.transport.write(held)
                    self.carrier.transport.write(data)
                data = b""
        if data and not self.disconnected:
            self.bytes_out += len(data)
            self.carrier.transport.write(data)

    def reconsider(self) -> None:
        """The response cannot be as its head says. While nothing of that was sent, another may take its place."""
        if self.held:
            self.held = b""
            self.state = REQUEST


class HTTP1ASGIExchange(ASGIDelivery, HTTP1Exchange):
    """An exchange over HTTP/1.x with any ASGI app."""

    __slots__ = ()
