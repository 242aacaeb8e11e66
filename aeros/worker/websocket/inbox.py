"""The messages of one WebSocket that wait for the app, and how many bytes of them may."""

from __future__ import annotations

from collections import deque

READ_AHEAD = 1 << 16
"""Bytes of messages that wait for the app before reading pauses; what one read brought may come on top."""

MESSAGE_COST = 64
"""Bytes that a waiting message counts besides its own."""


class Inbox:
    """Messages in the order they came. size: what they count together; ahead: above it nothing more should be read."""

    __slots__ = ("ahead", "queue", "size")

    def __init__(self, ahead: int) -> None:
        self.queue: deque[str | bytes] = deque()
        self.size = 0
        self.ahead = ahead

    def put(self, payload: str | bytes) -> None:
        self.queue.append(payload)
        size = len(payload)
        if isinstance(payload, str) and not payload.isascii():
            size *= 4
        self.size += size + MESSAGE_COST

    def clear(self) -> None:
        self.queue.clear()
        self.size = 0

    def take(self) -> str | bytes:
        """Return the oldest message; there must be one."""
        queue = self.queue
        payload = queue.popleft()
        if queue:
            self.size -= len(payload) * (1 if payload.isascii() or isinstance(payload, bytes) else 4) + MESSAGE_COST
        else:
            self.size = 0
        return payload
