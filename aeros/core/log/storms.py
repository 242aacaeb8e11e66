"""Storms in a log: the same event again and again is written a few times, then counted."""

from __future__ import annotations

import re

from ..record import mutable

#: Within this time…
WINDOW_S = 10.0
#: … an event is written this often. What is routine gets more: a hundred workers may well get ready at once.
MOST = {"debug": 1000, "info": 200, "warning": 20, "error": 20, "critical": 20}
#: Kinds of events told apart at once; in front of more than that, the oldest are forgotten.
_KINDS = 256

_NUMBERS = re.compile(r"\d+(\.\d+)?")


@mutable
class _Event:
    since: float
    written: int = 0
    counted: int = 0
    level: str = ""
    latest: str = ""


class Storms:
    """Times are monotonic seconds."""

    def __init__(self) -> None:
        self._events: dict[tuple[str, str], _Event] = {}

    def admits(self, level: str, text: str, now: float) -> bool:
        """Whether to write this event. Two are the same when they differ in numbers only."""
        key = level, _NUMBERS.sub("#", text[:400])
        event = self._events.get(key)
        if event is None:
            if len(self._events) >= _KINDS:
                del self._events[next(iter(self._events))]
            event = self._events[key] = _Event(now)
        if event.written < MOST[level]:
            event.written += 1
            return True
        event.counted += 1
        event.level, event.latest = level, text
        return False

    def summaries(self, now: float) -> list[tuple[str, str]]:
        """Return (level, sentence) for each storm whose time is over, and begin to write those events again."""
        over = [key for key, event in self._events.items() if now - event.since >= WINDOW_S]
        ended = [self._events.pop(key) for key in over]
        return [
            (event.level, f"{event.counted} more like this within {now - event.since:.0f} s: {event.latest}")
            for event in ended
            if event.counted
        ]
