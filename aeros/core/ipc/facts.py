"""Reading what another process says in a dictionary of facts: each with its type and bounds, or not at all."""

from __future__ import annotations

from typing import Any

from ..text import one_line, several_lines
from .messages import MAX_TEXT_CHARS, clip

Facts = dict[str, Any]


def number(facts: Facts, name: str, otherwise: float, *, most: float) -> float:
    """Return the number from 0 to `most` that is nearest to what is said; `otherwise` where that is no number."""
    said = facts.get(name)
    if isinstance(said, bool) or not isinstance(said, (int, float)):
        return otherwise
    # min and max would let NaN through, which is neither more nor less than anything.
    return min(said, most) if said > 0 else 0.0


def whole(facts: Facts, name: str, *, most: int) -> int:
    """Return the whole number that is said; 0 where it is none, or not from 0 to `most`."""
    said = facts.get(name)
    return said if isinstance(said, int) and not isinstance(said, bool) and 0 <= said <= most else 0


def indexes(facts: Facts, name: str, count: int) -> set[int]:
    """Return which of `count` things are named. Raises ValueError where something else is."""
    said = facts.get(name, [])
    if not isinstance(said, list) or not all(type(index) is int and 0 <= index < count for index in said):
        raise ValueError(f"{name} is to name some of {count}")
    return set(said)


def line(facts: Facts, name: str, most: int = 2000) -> str:
    """Return the text that is said, cut and on one line, nothing in it that a terminal would obey."""
    said = facts.get(name)
    return clip(one_line(said), most).replace("\n", " ") if isinstance(said, str) else ""


def lines(facts: Facts, name: str) -> str:
    """Return the text of several lines that is said, as `line` does: a traceback."""
    said = facts.get(name)
    return several_lines(clip(said, MAX_TEXT_CHARS)) if isinstance(said, str) else ""
