"""Time for people and for deadlines: monotonic seconds inside, wall-clock text outside."""

from __future__ import annotations

import time
from datetime import UTC, datetime

#: Every deadline in Aeros is a value of this clock, in seconds. It never jumps with NTP or the calendar.
monotonic = time.monotonic


def wall_time() -> float:
    """Seconds since the epoch; only ever shown to people, never compared with a deadline."""
    return time.time()


def iso_time(epoch_s: float) -> str:
    """Return `epoch_s` as ISO 8601 in UTC with milliseconds, e.g. 2026-11-23T07:35:49.120Z."""
    return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def local_time(epoch_s: float) -> str:
    """Return `epoch_s` as the log writes it: local time, 2026-11-23 07:35:49."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(epoch_s))


def show_duration(seconds: float) -> str:
    """Return a duration as a person would say it: 45 ms, 3.2 s, 4 min 10 s, 2 h 5 min, 3 d 4 h."""
    if seconds < 0:
        return f"-{show_duration(-seconds)}"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f}".rstrip("0").rstrip(".") + " s"
    whole = int(seconds)
    for big, big_name, small, small_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= big:
            rest = whole % big // small
            return f"{whole // big} {big_name}" + (f" {rest} {small_name}" if rest else "")
    raise AssertionError("unreachable: every value of 60 s or more is at least a minute")
