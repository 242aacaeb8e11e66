"""The parts of a body as they come, kept until the app takes them."""

from __future__ import annotations

from collections import deque

SMALL = 1 << 10
"""A part of fewer bytes is put behind the one before it: an object for each byte would take 40 times the memory."""

FULL = 1 << 16

Parts = deque[bytes | bytearray]


def add_part(parts: Parts, data: bytes) -> None:
    """Keep `data`, which is not empty, as a part of its own or behind the last one."""
    if len(data) < SMALL and parts and len(parts[-1]) < FULL:
        if type(parts[-1]) is bytes:
            parts[-1] = bytearray(parts[-1])
        parts[-1] += data
    else:
        parts.append(data)
