"""What a client still sends although nobody wants it any more. It is read and dropped.

That is the rest of a body whose request is answered, and whatever comes behind a response that ends the connection.

To close instead would make the kernel answer with a reset, which can destroy the response on its way, and takes the
connection from a client that did nothing wrong: most clients, and proxies, send all of a body before they look for the
answer. Dropping a megabyte costs less than a small request, so time is no bound. An honest rate and a size are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

DROP_MAX = 256 << 20
"""Bytes that are dropped behind one response. If more is announced, the response says that the connection ends."""

REST_WINDOW_S = 10.0
"""The rate of the rest of a body is that over this time, again and again, as with a body that is wanted."""

LINGER_S = 2.0
"""The same for what comes behind a response that ended the connection: a client that has read it closes at once."""

RATE = 240
"""Bytes per second where --min-data-rate says none: without any, a client could hold its connection for ever."""


class Leftover:
    """Counts what is dropped on one connection or stream, and gives up on a client that is too slow or has no end."""

    __slots__ = ("_before", "_count", "_give_up", "_least", "_loop", "_most", "_timer", "_window_s")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        rate: int | None,
        window_s: float,
        give_up: Callable[[], object],
        most: float = DROP_MAX,
    ) -> None:
        """most: bytes until it gives up."""
        self._loop = loop
        self._most = most
        self._least = (rate or RATE) * window_s
        self._window_s = window_s
        self._give_up = give_up
        self._count = self._before = 0
        self._timer = loop.call_later(window_s, self._check)

    def drop(self, size: int) -> None:
        """So many bytes came."""
        self._count += size
        if self._count > self._most:
            self.stop()
            self._give_up()

    def stop(self) -> None:
        """Nothing more is to come."""
        self._timer.cancel()

    def _check(self) -> None:
        if self._count - self._before < self._least:
            self._give_up()
            return
        self._before = self._count
        self._timer = self._loop.call_later(self._window_s, self._check)
