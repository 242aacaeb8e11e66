"""What all workers have done for each route since the server began, and the latest exceptions; for the dashboard.

Workers tell it, and may lie: a row that is no row is dropped, and there is a bound for everything.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

from ...core.ipc.messages import Routes, clip
from ...core.record import field, mutable
from ...core.shared.scoreboard import HISTOGRAM_BUCKETS
from ...core.text import one_line, several_lines

MOST_ROUTES = 200
MOST_ERRORS = 30
OTHERS = "(other routes)"
#: An answer has 1 MiB, and an exception some 4 KiB.
_MOST_TEXT, _MOST_TRACEBACK = 400, 5000


@mutable
class _Row:
    requests: int = 0
    bad: int = 0
    failed: int = 0
    seconds: float = 0.0
    buckets: Counter[int] = field(default_factory=Counter)


class RouteBook:
    """Only code called from the supervisor's loop touches it."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], _Row] = {}
        self._errors: deque[dict[str, Any]] = deque(maxlen=MOST_ERRORS)

    def hear(self, told: Routes, slot: int) -> None:
        """Add up what the worker of `slot` tells."""
        for record in told.routes[: 2 * MOST_ROUTES]:
            self._add(record)
        for record in told.errors[:MOST_ERRORS]:
            self._note(record, slot)

    def _add(self, record: dict[str, Any]) -> None:
        key = one_line(_text(record, "method", 20)), one_line(_text(record, "route", 200))
        if key not in self._rows and len(self._rows) >= MOST_ROUTES:
            key = ("", OTHERS)
        row = self._rows.setdefault(key, _Row())
        row.requests += _count(record.get("requests"))
        row.bad += _count(record.get("bad"))
        row.failed += _count(record.get("failed"))
        row.seconds += _seconds(record.get("seconds"))
        buckets = record.get("buckets")
        for name, count in buckets.items() if isinstance(buckets, dict) else ():
            if name.isdecimal() and len(name) < 4 and int(name) < HISTOGRAM_BUCKETS:
                row.buckets[int(name)] += _count(count)

    def _note(self, record: dict[str, Any], slot: int) -> None:
        self._errors.append(
            {
                "at": _seconds(record.get("at")),
                "slot": slot,
                "count": _count(record.get("count")),
                "traceback": several_lines(_text(record, "traceback", _MOST_TRACEBACK)),
                **{name: one_line(_text(record, name, _MOST_TEXT)) for name in ("method", "route", "what", "text")},
            }
        )

    def answer(self) -> dict[str, Any]:
        """Return it all. Buckets by number, those of the scoreboard; seconds: of all requests of the route."""
        rows = [
            {
                "method": method,
                "route": route,
                "requests": row.requests,
                "bad": row.bad,
                "failed": row.failed,
                "seconds": row.seconds,
                "buckets": {str(bucket): count for bucket, count in row.buckets.items()},
            }
            for (method, route), row in self._rows.items()
        ]
        return {"routes": rows, "errors": list(self._errors)}


def _text(record: dict[str, Any], name: str, most: int) -> str:
    value = record.get(name)
    return clip(value, most) if isinstance(value, str) else ""


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 40 else 0


def _seconds(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) and 0 <= value < 1e12 else 0.0
