"""The two clocks of a connection: how long nothing is asked on it, and how long its next bytes may take."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .service import Service


class Timed(Protocol):
    """A connection with these clocks."""

    def is_idle(self) -> bool:
        """Tell whether nothing is asked on it."""

    def is_due(self) -> bool:
        """Tell whether it is the client that has to send something next."""

    def idle_too_long(self) -> None:
        """Nothing was asked for keep_alive_timeout. A request that began but is not complete counts as nothing, as with
        Hypercorn."""

    def read_too_late(self) -> None:
        """Nothing came for read_timeout."""


class Timers:
    """No timer is moved for every request: each fires at most once per timeout, and looks how long is left."""

    __slots__ = ("_connection", "_idle", "_read", "_service", "idle_since", "last_read")

    def __init__(self, service: Service, connection: Timed) -> None:
        self._service = service
        self._connection: Timed | None = connection
        self._idle: asyncio.TimerHandle | None = None
        self._read: asyncio.TimerHandle | None = None
        #: By the loop's time. The connection sets both; the second only if there is a read_timeout.
        self.idle_since = self.last_read = 0.0

    def start(self) -> None:
        """Start both clocks."""
        service = self._service
        self.idle_since = service.loop.time()
        self._idle = service.loop.call_later(service.keep_alive_timeout, self._check_idle)
        self.start_read()

    def start_read(self) -> None:
        """Start the clock of read_timeout alone."""
        service = self._service
        self.last_read = service.loop.time()
        if service.read_timeout is not None:
            self._read = service.loop.call_later(service.read_timeout, self._check_read, service.read_timeout)

    def stop(self) -> None:
        for timer in (self._idle, self._read):
            if timer is not None:
                timer.cancel()
        self._connection = None  # or each would keep the other until the collector finds them

    def _check_idle(self) -> None:
        service = self._service
        left = service.keep_alive_timeout
        connection = self._connection
        if connection is not None and connection.is_idle():
            left += self.idle_since - service.loop.time()
            if left <= 0:
                connection.idle_too_long()
                return
        self._idle = service.loop.call_later(left, self._check_idle)

    def _check_read(self, timeout_s: float) -> None:
        loop = self._service.loop
        left = timeout_s
        connection = self._connection
        if connection is not None and connection.is_due():
            left += max(self.last_read, self.idle_since) - loop.time()
            if left <= 0:
                connection.read_too_late()
                return
        self._read = loop.call_later(min(left, timeout_s), self._check_read, timeout_s)
