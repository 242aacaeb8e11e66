"""What a worker counts, in numbers of its own that it writes into its cell of the scoreboard: no lock, no call.

Its own, because every worker of the family can write the cell: what stands there is for others to show. A worker that
went by it could be made to end early, to wait for connections that are not there, or to fail at a number too big.
"""

from __future__ import annotations

from collections.abc import Callable

from ...core.shared.scoreboard import (
    BYTES_IN,
    BYTES_OUT,
    CONNECTIONS,
    CONNECTIONS_TOTAL,
    HANDSHAKES_FAILED,
    HISTOGRAM,
    HISTOGRAM_BUCKETS,
    HTTP3_FAILURES,
    IN_FLIGHT,
    PENDING,
    REQUESTS,
    RESPONSES,
    SECONDS_SUM,
    WEBSOCKETS,
    WEBSOCKETS_TOTAL,
    Cell,
    bucket_of,
)


class Figures:
    """The counters of one worker. Each method costs well under a microsecond."""

    __slots__ = ("_counts", "_limit", "_on_limit", "_words", "in_flight", "requests")

    def __init__(self, cell: Cell, limit: int | None, on_limit: Callable[[], None]) -> None:
        """on_limit: called once, when request number `limit` has begun."""
        self._words = cell.words
        self._limit = limit
        self._on_limit = on_limit
        #: How many requests this worker has begun, and how many of them have not ended.
        self.requests = self.in_flight = 0
        self._counts = [0] * (HISTOGRAM + HISTOGRAM_BUCKETS)

    @property
    def connections(self) -> int:
        """Return how many connections are open or being set up."""
        return self._counts[CONNECTIONS] + self._counts[PENDING]

    def describe(self) -> str:
        """Return what is open now, for the process's title."""
        websockets = self._counts[WEBSOCKETS]
        return f"in-flight={self.in_flight}" + (f" websockets={websockets}" if websockets else "")

    def _add(self, figure: int, change: int) -> None:
        self._counts[figure] = self._words[figure] = self._counts[figure] + change

    def connection_opened(self) -> None:
        self._add(CONNECTIONS, 1)
        self._add(CONNECTIONS_TOTAL, 1)

    def connection_closed(self) -> None:
        self._add(CONNECTIONS, -1)

    def connection_pending(self, change: int) -> None:
        """Count a connection that has been accepted, or (-1) is set up or failed."""
        self._add(PENDING, change)

    def handshake_failed(self) -> None:
        self._add(HANDSHAKES_FAILED, 1)

    def http3_failed(self) -> None:
        self._add(HTTP3_FAILURES, 1)

    def request_started(self) -> None:
        words = self._words
        self.requests = words[REQUESTS] = self.requests + 1
        self.in_flight = words[IN_FLIGHT] = self.in_flight + 1
        if self.requests == self._limit:
            self._on_limit()

    def request_finished(self, status: int, bytes_in: int, bytes_out: int, seconds: float) -> None:
        """status: of the response, 0 when none was begun. seconds: from the request's first byte to its end."""
        words, counts = self._words, self._counts
        self.in_flight = words[IN_FLIGHT] = self.in_flight - 1
        # 100-599 fall into five classes; everything else (0: the client left first) is "none".
        at = RESPONSES + (status // 100 - 1 if 100 <= status < 600 else 5)
        counts[at] = words[at] = counts[at] + 1
        counts[BYTES_IN] = words[BYTES_IN] = counts[BYTES_IN] + bytes_in
        counts[BYTES_OUT] = words[BYTES_OUT] = counts[BYTES_OUT] + bytes_out
        counts[SECONDS_SUM] = words[SECONDS_SUM] = counts[SECONDS_SUM] + int(seconds * 1e9)
        at = HISTOGRAM + bucket_of(int(seconds * 1e6))
        counts[at] = words[at] = counts[at] + 1

    def websocket_opened(self) -> None:
        self._add(WEBSOCKETS, 1)
        self._add(WEBSOCKETS_TOTAL, 1)

    def websocket_closed(self) -> None:
        self._add(WEBSOCKETS, -1)

    def websocket_bytes(self, bytes_in: int, bytes_out: int) -> None:
        if bytes_in:
            self._add(BYTES_IN, bytes_in)
        if bytes_out:
            self._add(BYTES_OUT, bytes_out)
