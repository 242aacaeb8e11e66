"""The heartbeat: proof, written by the event loop itself, that the loop turns."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from ...core.shared.scoreboard import HEARTBEAT, LAG, LAG_MAX, LOOP_BUSY, Cell
from ...core.shared.worker_file import heartbeat_word
from ..debugging.debugger import Patience
from .idle import idle_clock


class Heartbeat:
    """Writes the time, the loop's lag and how busy it was into the worker's cell, and the time into its own file.

    A timer, so a blocked loop cannot fake it; only a debugger that holds the loop is waited for.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        cell: Cell,
        file_fd: int,
        also: Callable[[], None],
        every_s: float,
        say: Callable[[str], None],
    ) -> None:
        """file_fd: see core.worker_file. also: called at each beat. every_s: seconds between two beats. say: writes
        a line to the log."""
        self._loop = loop
        self._words = cell.words
        self._own_word = heartbeat_word(file_fd)
        self._lag_max = 0
        self._every_s = every_s
        self._also = also
        self._due = 0.0
        self._idle = idle_clock(loop)
        self._beat_ns = self._idle_ns = 0
        self._timer: asyncio.TimerHandle | None = None
        self.patience = Patience(self._show, every_s, say)

    def start(self) -> None:
        self._due = self._loop.time()
        self._beat_ns, self._idle_ns = time.monotonic_ns(), self._idle()
        self._beat()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _beat(self) -> None:
        now = self._loop.time()
        lag = max(0, int((now - self._due) * 1e9))
        words = self._words
        beat_ns, idle_ns = time.monotonic_ns(), self._idle()
        if (passed := beat_ns - self._beat_ns) > 0:
            words[LOOP_BUSY] = min(1_000_000, max(0, passed - idle_ns + self._idle_ns) * 1_000_000 // passed)
        self._beat_ns, self._idle_ns = beat_ns, idle_ns
        self._show()
        words[LAG] = lag
        words[LAG_MAX] = self._lag_max = max(self._lag_max, lag)
        self._also()
        self.patience.look()
        self._due = now + self._every_s
        self._timer = self._loop.call_at(self._due, self._beat)

    def _show(self) -> None:
        self._own_word[0] = self._words[HEARTBEAT] = time.monotonic_ns()
