"""What the reader sees while it measures."""

from __future__ import annotations

import sys


def say(text: str = "") -> None:
    print(text, flush=True)


def note(text: str) -> None:
    """Say something that is not a result."""
    print(text, file=sys.stderr, flush=True)
