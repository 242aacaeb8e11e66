"""What each route did in the last minutes: the difference of two tellings of the supervisor's totals."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from ..core.shared.scoreboard import HISTOGRAM_BUCKETS
from ..status.latency import LatencyHistogram

#: The window that the page shows, and how often its beginning moves.
WINDOW_S = 300.0
_EVERY_S = 10.0
_MOST_SHOWN = 50

Totals = dict[tuple[str, str], dict[str, Any]]


class RouteRates:
    """Takes the totals now and then; `rows` compares the latest with those of five minutes ago."""

    def __init__(self) -> None:
        self._kept: deque[tuple[float, Totals]] = deque()
        self._latest: Totals = {}
        self._at = 0.0
        self.errors: list[dict[str, Any]] = []

    def take(self, told: dict[str, Any]) -> None:
        """told: the supervisor's answer to "routes"."""
        now = time.monotonic()
        self._latest = {(row["method"], row["route"]): row for row in told["routes"]}
        self._at = now
        self.errors = told["errors"]
        if not self._kept or now - self._kept[-1][0] >= _EVERY_S:
            self._kept.append((now, self._latest))
        while len(self._kept) > 1 and now - self._kept[1][0] >= WINDOW_S:
            self._kept.popleft()

    def table(self) -> dict[str, Any]:
        """Return the window's length in seconds, and its rows: those with the most requests first."""
        began, before = self._kept[0] if self._kept else (self._at, {})
        seconds = max(self._at - began, 1.0)
        rows = [row for key, totals in self._latest.items() if (row := _row(before.get(key), totals, seconds))]
        rows.sort(key=lambda row: (-row["requests"], row["route"]))
        return {"seconds": round(seconds), "rows": rows[:_MOST_SHOWN], "more": max(0, len(rows) - _MOST_SHOWN)}


def _row(before: dict[str, Any] | None, now: dict[str, Any], seconds: float) -> dict[str, Any] | None:
    def since(name: str) -> Any:
        return max(0, now[name] - (before[name] if before else 0))

    if not (requests := since("requests")):
        return None
    earlier = before["buckets"] if before else {}
    fine = [0] * HISTOGRAM_BUCKETS
    for bucket, count in now["buckets"].items():
        fine[int(bucket)] = max(0, count - earlier.get(bucket, 0))
    latency = LatencyHistogram.of(fine, since("seconds"))
    return {
        "method": now["method"],
        "route": now["route"],
        "requests": requests,
        "rate": requests / seconds,
        "4xx": since("bad"),
        "5xx": since("failed"),
        "p50": latency.quantile(0.5),
        "p99": latency.quantile(0.99),
    }
