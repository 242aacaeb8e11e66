"""How any ASGI app is given a request, and answers it: by messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypercorn.utils import UnexpectedMessageError

from ...core.net.client_gone import tell_gone
from ...core.shared.requests_table import STREAMING
from .exchange import CLOSED, REQUEST, RESPONSE, Carrier, Exchange
from .waiters import Waiters, wait_among, wake

if TYPE_CHECKING:
    from .head import Head

CANCEL_GRACE_S = 1.0
"""An app whose request is over is told of a disconnect; if it goes on all the same it is cancelled after this."""


class ASGIDelivery(Exchange):
    """The delivery by messages."""

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
            self.carrier.service.loop.call_later(CANCEL_GRACE_S, self.task.cancel)

    async def serve(self) -> None:
        await self.carrier.service.app(self.scope, self.receive, self.send)

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
            await wait_among(self._waiters, self.carrier.service.loop)

    async def send(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if self.disconnected:
            await tell_gone()
        if kind == "http.response.body" and self.state is RESPONSE:
            more = message.get("more_body", False)
            table = self.carrier.service.table
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
            self.carrier.service.loop.call_soon(self.flush)
        else:
            raise UnexpectedMessageError(self.state, kind)
