"""What a worker has done for each route, and the latest exceptions: for the dashboard, told every two seconds.

Routes are the app's, so there are few; a request that has met none counts in one row. No path, no header and no body is
told: of an exception its type, text and lines of code.
"""

from __future__ import annotations

import asyncio
import re
import time
import traceback
from collections import Counter
from collections.abc import Callable

from ...core.ipc.messages import Routes, clip
from ...core.record import field, mutable
from ...core.shared.scoreboard import bucket_of

EVERY_S = 2.0
#: Beyond it routes share one row: some frameworks make a route of what clients send.
MOST_ROUTES = 200
OTHERS = "(other routes)"
#: Of different kinds, in one telling.
_MOST_ERRORS = 10
_MOST_TEXT, _MOST_TRACEBACK = 300, 4000

#: What texts of exceptions have around passwords and the like.
_SECRET = re.compile(
    r"(?i)(\b(?:authorization|cookie|passw(?:or)?d|pwd|secret|token|api[-_]?key|session)[\"']?\s*[=:]\s*)"
    r"(?:(?:bearer|basic)\s+)?[\"']?[^\s,;&\"')]+|(://[^\s:/@]*:)[^\s/@]+(?=@)"
)


def without_secrets(text: str) -> str:
    """Return `text` with what looks like a password, a token or a cookie left out."""
    return _SECRET.sub(lambda found: f"{found[1] or found[2] or ''}…", text)


@mutable
class _Row:
    requests: int = 0
    bad: int = 0  # 4xx
    failed: int = 0  # 5xx
    seconds: float = 0.0
    buckets: Counter[int] = field(default_factory=Counter)


class RouteFigures:
    """Of one worker, since they were told last."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], _Row] = {}
        self._errors: dict[tuple[str, str, str], dict[str, object]] = {}

    def count(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """A request has ended. route: None where it has met none, and its method is the client's own word."""
        key = (method, route) if route is not None else ("", "")
        row = self._rows.get(key)
        if row is None:
            if len(self._rows) >= MOST_ROUTES:
                key = ("", OTHERS)
            row = self._rows.setdefault(key, _Row())
        row.requests += 1
        row.seconds += seconds
        row.buckets[bucket_of(int(seconds * 1e6))] += 1
        if status >= 500:
            row.failed += 1
        elif status >= 400:
            row.bad += 1

    def note(self, error: BaseException, method: str, route: str | None) -> None:
        """The app has raised it. The same one again only counts."""
        key = (method, route or "", type(error).__qualname__)
        known = self._errors.get(key)
        if known is None and len(self._errors) >= _MOST_ERRORS:
            return
        count = 1 if known is None else int(str(known["count"])) + 1
        self._errors[key] = {"at": time.time(), "method": method, "route": route or "", "count": count} | _told(error)

    def tell_by(
        self, loop: asyncio.AbstractEventLoop, may_send: Callable[[], bool], send: Callable[[Routes], None]
    ) -> None:
        """Tell now and then what there is, from now on. may_send: whether what was told before has been taken."""

        def tell() -> None:
            if (self._rows or self._errors) and may_send():
                send(self.take())
            loop.call_later(EVERY_S, tell)

        loop.call_later(EVERY_S, tell)

    def take(self) -> Routes:
        """Return what was counted, and begin anew."""
        rows, errors = self._rows, self._errors
        self._rows, self._errors = {}, {}
        told = [
            {
                "method": method[:20],
                "route": route[:200],
                "requests": row.requests,
                "bad": row.bad,
                "failed": row.failed,
                "seconds": row.seconds,
                "buckets": {str(bucket): count for bucket, count in row.buckets.items()},
            }
            for (method, route), row in rows.items()
        ]
        return Routes(told, list(errors.values()))


def _told(error: BaseException) -> dict[str, str]:
    try:
        text = str(error)
    except Exception:
        text = "(its text cannot be had)"
    lines = "".join(traceback.format_tb(error.__traceback__)[-12:])
    return {
        "what": clip(type(error).__qualname__, 100),
        "text": clip(without_secrets(text[: 4 * _MOST_TEXT]), _MOST_TEXT),
        "traceback": clip(without_secrets(lines[-_MOST_TRACEBACK:]), _MOST_TRACEBACK),
    }
