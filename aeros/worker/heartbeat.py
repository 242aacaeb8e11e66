"""The heartbeat: proof, written by the event loop itself, that the loop turns."""

from __future__ import annotations

import asyncio
import time

from ..core.scoreboard import HEARTBEAT, LAG, LAG_MAX, Cell

#: How often the loop proves itself. Also how fine the loop lag is sampled.
EVERY_S = 0.5


class Heartbeat:
    """Writes the time and the loop's lag into the worker's cell. A timer, so a blocked loop cannot fake it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, cell: Cell) -> None:
        self._loop = loop
        self._words = cell.words
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._due = self._loop.time()
        self._beat()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _beat(self) -> None:
        now = self._loop.time()
        lag = max(0, int((now - self._due) * 1e9))
        words = self._words
        words[HEARTBEAT] = time.monotonic_ns()
        words[LAG] = lag
        words[LAG_MAX] = max(words[LAG_MAX], lag)
        self._due = now + EVERY_S
        self._timer = self._loop.call_at(self._due, self._beat)
