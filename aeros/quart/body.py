"""What the lane's request bodies have in common in every version of Quart; the rest is in quart_line."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from quart.wrappers.request import Body
from werkzeug.exceptions import RequestEntityTooLarge

from ..worker.http1.large_body import Room

if TYPE_CHECKING:
    from ..worker.lane.exchange import Carrier

SMALL = 1 << 10
"""A part of fewer bytes is put behind the one before it: an object for each byte would take 40 times the memory."""

FULL = 1 << 16


class PartedBody(Body):
    """Keeps the parts of a body as they come until the app takes them, and has large ones read to where they stay."""

    def __init__(self, carrier: Carrier, expected: int | None, maximum: int | None) -> None:
        self._parts: deque[bytes | bytearray] = deque()
        self._size = 0  # of what waits for the app, in parts or in the room
        self._room: Room | None = None
        self._max_content_length = maximum
        self._must_raise = None
        if expected is not None and maximum is not None and expected > maximum:
            self._must_raise = RequestEntityTooLarge()
        self._carrier = carrier
        self._wanted_whole = False
        self._ended = False

    def _add(self, data: bytes) -> None:
        """Keep `data`, which is not empty, as a part of its own or behind the last one."""
        parts = self._parts
        if len(data) < SMALL and parts and len(parts[-1]) < FULL:
            if type(parts[-1]) is bytes:
                parts[-1] = bytearray(parts[-1])
            parts[-1] += data
        else:
            parts.append(data)
        self._size += len(data)

    def buffered(self) -> int:
        # After an error nobody gets to see what comes; the client may go on sending it.
        return 0 if self._wanted_whole or self._must_raise is not None else self._size

    def awaited(self) -> int:
        """Return how many bytes of memory are taken for a handler that awaits all of the body."""
        if not self._wanted_whole or self._must_raise is not None:
            return 0
        return self._size if self._room is None else max(self._size, self._room.made)

    def room(self, left: int) -> Room | None:
        """Return where the `left` bytes to come are best read to, None for `append`. From then on see `landed`."""
        if not self._wanted_whole or self._ended or self._must_raise is not None or self._room is not None:
            return None
        if self._max_content_length is not None and self._size + left > self._max_content_length:
            return None
        self._room = Room(self._parts, left)
        self._parts.clear()
        return self._room

    def landed(self, count: int) -> None:
        """So many bytes were read into the room."""
        self._size += count
        self._wake()

    def _wake(self) -> None:
        """Have whoever waits for more look again."""
        raise NotImplementedError
