"""What a worker counts, straight into its cell of the scoreboard: plain additions, no lock, no call."""

from __future__ import annotations

from collections.abc import Callable

from ..core.scoreboard import (
    BYTES_IN,
    BYTES_OUT,
    CONNECTIONS,
    CONNECTIONS_TOTAL,
    HISTOGRAM,
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

    def __init__(self, cell: Cell, limit: int | None, on_limit: Callable[[], None]) -> None:
        """on_limit: called once, when request number `limit` has begun."""
        self._words = cell.words
        self._limit = limit
        self._on_limit = on_limit

    @property
    def requests(self) -> int:
        """Return how many requests this worker has begun."""
        return self._words[REQUESTS]

    @property
    def in_flight(self) -> int:
        return self._words[IN_FLIGHT]

    @property
    def connections(self) -> int:
        """Return how many connections are open or being set up."""
        return self._words[CONNECTIONS] + self._words[PENDING]

    def describe(self) -> str:
        """Return what is open now, for the process's title."""
        websockets = self._words[WEBSOCKETS]
        return f"in-flight={self._words[IN_FLIGHT]}" + (f" websockets={websockets}" if websockets else "")

    def connection_opened(self) -> None:
        words = self._words
        words[CONNECTIONS] += 1
        words[CONNECTIONS_TOTAL] += 1

    def connection_closed(self) -> None:
        self._words[CONNECTIONS] -= 1

    def connection_pending(self, change: int) -> None:
        """Count a connection that has been accepted, or (-1) is set up or failed."""
        self._words[PENDING] += change

    def request_started(self) -> None:
        words = self._words
        words[REQUESTS] += 1
        words[IN_FLIGHT] += 1
        if words[REQUESTS] == self._limit:
            self._on_limit()

    def request_finished(self, status: int, bytes_in: int, bytes_out: int, seconds: float) -> None:
        """status: of the response, 0 when none was begun. seconds: from the request's first byte to its end."""
        words = self._words
        words[IN_FLIGHT] -= 1
        # 100-599 fall into five classes; everything else (0: the client left first) is "none".
        words[RESPONSES + (status // 100 - 1 if 100 <= status < 600 else 5)] += 1
        words[BYTES_IN] += bytes_in
        words[BYTES_OUT] += bytes_out
        words[SECONDS_SUM] += int(seconds * 1e9)
        words[HISTOGRAM + bucket_of(int(seconds * 1e6))] += 1

    def websocket_opened(self) -> None:
        words = self._words
        words[WEBSOCKETS] += 1
        words[WEBSOCKETS_TOTAL] += 1

    def websocket_closed(self) -> None:
        self._words[WEBSOCKETS] -= 1

    def websocket_bytes(self, bytes_in: int, bytes_out: int) -> None:
        words = self._words
        if bytes_in:
            words[BYTES_IN] += bytes_in
        if bytes_out:
            words[BYTES_OUT] += bytes_out
