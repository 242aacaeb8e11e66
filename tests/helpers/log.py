"""Reading a server's log: which lines are at warning or above, and how many tracebacks there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

_LEVEL = re.compile(r"^(?:\S+ ){0,4}?\[?(DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL)\]?\b", re.IGNORECASE)
_LOUD = {"WARNING", "WARN", "ERROR", "CRITICAL"}
_ALWAYS_LOUD = re.compile(
    r"Traceback \(most recent call last\)|was never awaited|was never retrieved|\w+Warning:"
    r"|^Exception ignored|Fatal Python error|Task was destroyed"
)
TRACEBACK = "Traceback (most recent call last)"


def level(line: str) -> str | None:
    """The level a line names, upper case; None for a line without one (a banner, the rest of a traceback)."""
    if line.startswith("{"):
        try:
            return str(json.loads(line)["level"]).upper()
        except (ValueError, LookupError):
            return None
    found = _LEVEL.match(line)
    return found[1].upper() if found else None


def is_loud(line: str) -> bool:
    return level(line) in _LOUD or bool(_ALWAYS_LOUD.search(line))


def unexpected(text: str, expected: Iterable[str]) -> list[str]:
    """Lines at warning or above (and stray tracebacks) which none of the expected patterns matches."""
    patterns = [re.compile(pattern) for pattern in expected]
    return [line for line in text.splitlines() if is_loud(line) and not any(known.search(line) for known in patterns)]


def tracebacks(text: str) -> int:
    return text.count(TRACEBACK)
