"""How a connection of HTTP/1 ends: by its client, by the server, or because something on it cannot go on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..lane.exchange import REQUEST, Exchange
from .leftover import LINGER_S, Leftover
from .line import BODY, BUSY, GONE, HEAD, LINGER, REST, Line
from .response import error_response

if TYPE_CHECKING:
    from ..lane.service import Service
    from ..report.requests_table import Request
    from .exchange import HTTP1Exchange

EOF_GRACE_S = 0.02
"""How long a request whose client closed its sending side may still be answered before it is cancelled.

Hypercorn needs a few turns of the loop to notice; a client that half-closes (`nc -N`) gets quick answers there.
"""


class EndingLine(Line):
    """A line with at most one exchange, and all that may end either."""

    __slots__ = ("_eof", "_exchange", "_leftover", "_pipelines")

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self._exchange: HTTP1Exchange | None = None
        self._leftover: Leftover | None = None  # counts what is dropped, in LINGER
        self._pipelines = False  # the client has sent a request before it had the answer to the one before
        self._eof = False

    # The client goes

    def eof_received(self) -> bool:
        """Return whether to leave the sending side open, which TLS cannot."""
        while (body := self._body) is not None and body.waits:
            body.read_ahead()
        phase = self._phase
        exchange = self._exchange
        if (phase == HEAD and self._ahead) or phase == BODY:
            self.refuse(400)
        elif phase == BUSY and exchange is not None:
            self._eof = True
            if self.transport.get_extra_info("ssl_object") is not None:
                exchange.disconnect()
                return False
            self._after_eof()
            return True
        return False

    def _after_eof(self) -> None:
        """See the requests through that came before the client closed its sending side."""
        if self._exchange is None or self._phase == BODY:
            self._close()
        elif not self._ahead:
            self.service.loop.call_later(EOF_GRACE_S, self._give_up_on, self._exchange)

    def _give_up_on(self, exchange: Exchange) -> None:
        if self._exchange is exchange:
            exchange.disconnect()

    def connection_lost(self, exc: Exception | None) -> None:
        self._phase = GONE
        self.timers.stop()
        if self._slow is not None:
            self._slow.stop()
        if self._leftover is not None:
            self._leftover.stop()
        if self._body is not None:
            self._body.stop()
            self._body = None
        if self._exchange is not None:
            self._exchange.disconnect()
        self.resume_writing()
        self.service.connections.closed(self)

    # Draining (connections.Connection)

    def drain(self) -> None:
        """Nothing to say yet: the next response carries `Connection: close`."""

    def close_idle(self) -> None:
        if self._phase == HEAD:
            self._close()
        elif self._phase == REST:
            self.close_slowly()

    def idle_since(self) -> float | None:
        return self.timers.idle_since if self._phase == HEAD and not self._ahead else None

    def abort(self) -> None:
        self.transport.abort()
        if self._exchange is not None:
            self._exchange.disconnect()
            self._exchange.cancel()

    def under_way(self) -> Iterable[Request]:
        return () if self._exchange is None else (self._exchange,)

    # timers.Timed

    def is_idle(self) -> bool:
        return self._phase == HEAD

    def is_due(self) -> bool:
        return self._phase in (HEAD, BODY, REST) and not self.reading_paused

    def idle_too_long(self) -> None:
        self._close()

    def read_too_late(self) -> None:
        if self._exchange is not None:
            self._exchange.disconnect()
        self._close()

    # slow_clients.Watched

    def reads_body_of(self, exchange: Exchange) -> bool:
        return self._exchange is exchange and self._phase == BODY

    def head_late(self) -> None:
        """The rest of a head did not come in time."""
        if self._phase == HEAD and self._ahead:
            self.refuse(408)

    def body_late(self) -> None:
        """The body comes too slowly."""
        exchange = self._exchange
        self.refuse(408)
        if exchange is not None:
            exchange.stop()

    # The server ends it

    def expire(self, exchange: Exchange, status: int = 504) -> None:
        """Answer with the status where nothing of a response was sent, else the connection ends there."""
        if self._exchange is exchange:
            if exchange.state is REQUEST:
                self.refuse(status)
            else:
                exchange.disconnect()
                self.transport.abort()  # an orderly end could pass for the end of the body
        exchange.stop()

    def refuse(self, status: int) -> None:
        """Answer what cannot be read as a request, as far as an answer is still possible, and close."""
        exchange = self._exchange
        if exchange is None:
            self.transport.write(error_response(status, self.service.common.block()))
        else:
            if exchange.state is REQUEST:
                exchange.status = status
                keep_alive = exchange.head.keep_alive
                self.transport.write(error_response(status, self.service.common.block(), keep_alive))
            exchange.disconnect()
        self.close_slowly()

    def break_off(self) -> None:
        """End the connection within a response, unless it is ending already."""
        if self._phase in (LINGER, GONE):
            return
        # TLS has no half of an end: there the client would wait for the response until it has sent all of its request.
        self._close(linger=self.transport.can_write_eof() and (self._phase == BODY or self._pipelines))

    def close_slowly(self) -> None:
        """Close; what the client still sends is read and dropped for a while."""
        self._close(linger=True)

    def _close(self, linger: bool = False) -> None:
        self._ahead.clear()
        halves = self.transport.can_write_eof()
        lingers = linger and self._phase != LINGER and not self._eof and (halves or self._phase == BODY)
        self._phase = LINGER
        if self._body is not None:
            self._body.close()
            self._body = None
        if lingers:
            if halves:
                self.transport.write_eof()
            service = self.service
            self._leftover = Leftover(service.loop, service.limits.min_data_rate, LINGER_S, self.transport.abort)
            self.resume_reading()
            return
        if self._leftover is not None:
            self._leftover.stop()
        self.transport.close()
        # A peer that reads nothing would keep what is left to write, and the connection, for ever.
        if self.write_paused:
            self.service.loop.call_later(LINGER_S, self.transport.abort)
        elif self.transport.get_write_buffer_size():
            self._watched().write_begun()
