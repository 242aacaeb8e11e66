"""Clients that are slow on purpose: heads and bodies that trickle in, responses that nobody reads.

A connection gets one of these when something of it is first waited for; whoever sends a whole request in one piece
and takes the response never does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..lane.exchange import Exchange
    from ..lane.service import Service

BODY_WINDOW_S = 10.0
"""The rate of a body is that over this time, again and again: a quick beginning does not pay for a slow rest."""


class SlowTaker:
    """The clock that runs against a client that does not take what is sent. abort: drops the connection."""

    __slots__ = ("_abort", "_left", "_service", "_transport", "_write")

    def __init__(self, service: Service, transport: asyncio.Transport, abort: Callable[[], None]) -> None:
        self._service = service
        self._transport = transport
        self._abort = abort
        self._write: asyncio.TimerHandle | None = None
        self._left = 0

    def stop(self) -> None:
        """The connection is gone."""
        self.write_done()

    def write_begun(self) -> None:
        """More is to be sent than the client has taken so far."""
        service = self._service
        if self._write is None and (bound_s := service.limits.write_timeout_s) is not None:
            self._left = self._transport.get_write_buffer_size()
            self._write = service.loop.call_later(bound_s, self._check_write, bound_s)

    def write_done(self) -> None:
        if self._write is not None:
            self._write.cancel()
            self._write = None

    def _check_write(self, bound_s: float) -> None:
        self._write = None
        left = self._transport.get_write_buffer_size()
        if not left:
            return
        least = max(1.0, (self._service.limits.min_data_rate or 0) * bound_s)
        if self._left - left < least:
            self._abort()
            return
        self.write_begun()


class Watched(Protocol):
    """A connection of HTTP/1 whose client is watched."""

    service: Service
    transport: asyncio.Transport

    @property
    def reading_paused(self) -> bool: ...

    def abort(self) -> None: ...
    def reads_body_of(self, exchange: Exchange) -> bool: ...

    def head_late(self) -> None:
        """The rest of a head did not come in time."""

    def body_late(self) -> None:
        """The body comes too slowly."""


class SlowClient(SlowTaker):
    """All clocks that run against one client of HTTP/1."""

    __slots__ = ("_body", "_connection", "_head", "excused")

    def __init__(self, connection: Watched) -> None:
        super().__init__(connection.service, connection.transport, connection.abort)
        self._connection = connection
        self._head: asyncio.TimerHandle | None = None
        self._body: asyncio.TimerHandle | None = None
        self.excused = False  # reading was paused in this window: the client could not send

    def stop(self) -> None:
        self.head_done()
        self.body_done()
        self.write_done()

    # The head

    def head_begun(self) -> None:
        service = self._service
        if self._head is None and (bound_s := service.limits.header_timeout_s) is not None:
            self._head = service.loop.call_later(bound_s, self._connection.head_late)

    def head_done(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    # The body

    def body_begun(self, exchange: Exchange) -> None:
        self.excused = False
        self._watch_body(exchange)

    def body_done(self) -> None:
        if self._body is not None:
            self._body.cancel()
            self._body = None

    def _watch_body(self, exchange: Exchange) -> None:
        self._body = self._service.loop.call_later(BODY_WINDOW_S, self._check_body, exchange, exchange.bytes_in)

    def _check_body(self, exchange: Exchange, before: int) -> None:
        self._body = None
        connection = self._connection
        if not connection.reads_body_of(exchange):
            return
        rate = self._service.limits.min_data_rate or 0
        if exchange.bytes_in - before < rate * BODY_WINDOW_S and not self.excused:
            connection.body_late()
            return
        self.excused = connection.reading_paused
        self._watch_body(exchange)
