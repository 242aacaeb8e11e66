"""Clients that are slow on purpose: heads and bodies that trickle in, responses that nobody reads.

A connection gets one of these when something of it is first waited for; whoever sends a whole request in one piece
and takes the response never does.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..lane.exchange import Exchange
    from .connection import HTTP1Connection

BODY_WINDOW_S = 10.0
"""The rate of a body is that over this time, again and again: a quick beginning does not pay for a slow rest."""


class SlowClient:
    """The clocks that run against one client."""

    __slots__ = ("_body", "_connection", "_head", "_left", "_write", "excused")

    def __init__(self, connection: HTTP1Connection) -> None:
        self._connection = connection
        self._head: asyncio.TimerHandle | None = None
        self._body: asyncio.TimerHandle | None = None
        self._write: asyncio.TimerHandle | None = None
        self._left = 0
        self.excused = False  # reading was paused in this window: the client could not send

    def stop(self) -> None:
        """The connection is gone."""
        for timer in (self._head, self._body, self._write):
            if timer is not None:
                timer.cancel()

    # The head

    def head_begun(self) -> None:
        lane = self._connection.lane
        if self._head is None and (bound_s := lane.limits.header_timeout_s) is not None:
            self._head = lane.loop.call_later(bound_s, self._connection.head_late)

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
        loop = self._connection.lane.loop
        self._body = loop.call_later(BODY_WINDOW_S, self._check_body, exchange, exchange.bytes_in)

    def _check_body(self, exchange: Exchange, before: int) -> None:
        self._body = None
        connection = self._connection
        if not connection.reads_body_of(exchange):
            return
        rate = connection.lane.limits.min_data_rate or 0
        if exchange.bytes_in - before < rate * BODY_WINDOW_S and not self.excused:
            connection.body_late()
            return
        self.excused = connection.reading_paused
        self._watch_body(exchange)

    # The response

    def write_begun(self) -> None:
        """More is to be sent than the client has taken so far."""
        lane = self._connection.lane
        if self._write is None and (bound_s := lane.limits.write_timeout_s) is not None:
            self._left = self._connection.transport.get_write_buffer_size()
            self._write = lane.loop.call_later(bound_s, self._check_write, bound_s)

    def write_done(self) -> None:
        if self._write is not None:
            self._write.cancel()
            self._write = None

    def _check_write(self, bound_s: float) -> None:
        self._write = None
        connection = self._connection
        left = connection.transport.get_write_buffer_size()
        if not left:
            return
        least = max(1.0, (connection.lane.limits.min_data_rate or 0) * bound_s)
        if self._left - left < least:
            connection.abort()
            return
        self.write_begun()
