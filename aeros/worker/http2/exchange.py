"""The wire of HTTP/2: how an exchange's response becomes the frames of its stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypercorn.utils import UnexpectedMessageError

from ...core.net.client_gone import tell_gone
from ..http1.response import ResponseError, has_no_body
from ..lane.asgi import ASGIDelivery
from ..lane.exchange import REQUEST, RESPONSE, Carrier, Exchange
from ..lane.waiters import wake
from .frames import INTERNAL_ERROR
from .hpack_encoder import UNSIZED, informational_block, response_block, trailers_block

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from werkzeug.datastructures import Headers

    from ..lane.head import Head, Pair
    from .stream import Stream


class HTTP2Exchange(Exchange):
    """One request and its response on a stream; knows the framing of the body, not who makes it."""

    __slots__ = ("held", "kept", "remaining", "suppressed")

    carrier: Stream

    def __init__(self, carrier: Carrier, head: Head) -> None:
        super().__init__(carrier, head)
        self.held: bytes | None = None
        self.kept = b""  # what completes the body of an app that has yet to say so
        self.remaining = UNSIZED
        self.suppressed = False

    def has_body(self) -> bool:
        return not self.carrier.remote_closed

    def extensions(self, tls: dict[str, Any] | None) -> dict[str, Any]:
        extensions: dict[str, Any] = {
            "http.response.trailers": {},
            "http.response.push": {},
            "http.response.early_hint": {},
        }
        if tls is not None:
            extensions["tls"] = tls
        return extensions

    def pusher(self) -> Callable[[str, Headers], Awaitable[None]]:
        return self.carrier.push

    def start_response(self, status: int, headers: Iterable[Pair]) -> None:
        carrier = self.carrier
        if carrier.service.request_ids:
            from ..lane.request_ids import with_echo

            headers = with_echo(self.scope, headers)
        self.held, length = response_block(status, headers, carrier.streams.common)
        self.suppressed = has_no_body(self.head.method, status)
        self.remaining = UNSIZED if self.suppressed else length
        self.status = status
        self.headers = headers
        self.state = RESPONSE

    def flush(self) -> None:
        held = self.held
        if held is not None:
            self.held = None
            self.bytes_out += len(held)
            self.carrier.send_headers(held, False)

    def send_body(self, data: bytes, more: bool) -> None:
        if self.suppressed:
            data = b""
        size = len(data)
        remaining = self.remaining
        if remaining != UNSIZED:
            if size > remaining or (not more and size < remaining):
                self.reconsider()
                raise ResponseError(f"Too {'little' if size < remaining else 'much'} data for declared Content-Length")
            self.remaining = remaining - size
            if more and size and size == remaining and not self.carrier.remote_closed:
                self.kept = data  # the client would take it for the end: see Stream.send_end
                return
        if self.kept:
            if more:
                return
            data, self.kept = self.kept, b""
            size = len(data)
        carrier = self.carrier
        held = self.held
        if held is not None:
            self.held = None
            self.bytes_out += len(held)
            if not size and (more or carrier.remote_closed or self.status >= 400):
                carrier.send_headers(held, not more)
                return
            carrier.send_headers(held, False)
        if size or not more:
            self.bytes_out += size
            if more or self.status >= 400:
                carrier.send_data(data, not more)
            else:
                carrier.send_end(data)

    def reconsider(self) -> None:
        """As over HTTP/1."""
        if self.held is not None:
            self.held = None
            self.state = REQUEST

    def answer_empty(self, status: int) -> None:
        block, _ = response_block(status, [(b"content-length", b"0")], self.carrier.streams.common)
        self.bytes_out += len(block)
        self.carrier.send_headers(block, True)

    def break_off(self) -> None:
        if not self.carrier.local_closed:
            self.carrier.reset(INTERNAL_ERROR)


class HTTP2ASGIExchange(ASGIDelivery, HTTP2Exchange):
    """An exchange over HTTP/2 with any ASGI app, and the messages that only HTTP/2 knows."""

    __slots__ = ("_trailers",)

    def __init__(self, carrier: Carrier, head: Head) -> None:
        super().__init__(carrier, head)
        self._trailers: list[Pair] | None = None  # those so far of an app that said it will send some

    async def send(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "http.response.start" and self.state is REQUEST:
            self._trailers = [] if message.get("trailers", False) else None
        elif kind == "http.response.body":
            if self._trailers is not None and not message.get("more_body", False):
                message = {**message, "more_body": True}
        elif kind == "http.response.trailers":
            await self._send_trailers(message)
            return
        elif kind == "http.response.push":
            if not isinstance(message["path"], str):
                raise TypeError(f"{message['path']} should be a str")
            self.carrier.promise(message["path"], message["headers"])
            return
        elif kind == "http.response.early_hint" and self.state is REQUEST:
            links = [(b"link", bytes(link).strip()) for link in message["links"]]
            self.carrier.send_headers(informational_block(103, links, self.carrier.streams.common.block()), False)
            return
        await super().send(message)

    async def _send_trailers(self, message: dict[str, Any]) -> None:
        """Send trailers, and end the response; only to a client that said it takes them, as Hypercorn does."""
        if self.disconnected:
            await tell_gone()
        if self.state is REQUEST:
            # A response of trailers alone, as for an error of gRPC.
            self.start_response(200, message["headers"])
            self._trailers = []
        elif self._trailers is None or self.state is not RESPONSE:
            raise UnexpectedMessageError(self.state, message["type"])
        else:
            self._trailers += message["headers"]
        if message.get("more_trailers", False):
            return
        wanted = any(name == b"te" and value == b"trailers" for name, value in self.scope["headers"])
        if self._trailers and wanted:
            self.flush()
            self.carrier.send_headers(trailers_block(self._trailers), True)
        else:
            self.remaining = UNSIZED
            self.send_body(b"", False)
        if self.carrier.write_paused:
            await self.carrier.writable()
        await self.end()
        wake(self._waiters)
