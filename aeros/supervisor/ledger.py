"""What outlives a worker: the figures of those that ended, and the cells they were counted in."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from ..core.scoreboard import HISTOGRAM_BUCKETS, RESPONSE_CLASSES, CellFigures, Scoreboard


@dataclass
class Totals:
    """Sums over all workers that have ended. Sizes in bytes, times in seconds."""

    requests: int = 0
    responses: list[int] = field(default_factory=lambda: [0] * len(RESPONSE_CLASSES))
    connections: int = 0
    websockets: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    seconds_sum: float = 0.0
    histogram: list[int] = field(default_factory=lambda: [0] * HISTOGRAM_BUCKETS)

    def add(self, figures: CellFigures) -> None:
        """Add the last figures of a worker. A request it died in counts as one without a response."""
        self.requests += figures.requests
        for index, count in enumerate(figures.responses):
            self.responses[index] += count
        self.responses[-1] += max(0, figures.requests - sum(figures.responses))
        self.connections += figures.connections_total
        self.websockets += figures.websockets_total
        self.bytes_in += figures.bytes_in
        self.bytes_out += figures.bytes_out
        self.seconds_sum += figures.seconds_sum
        for index, count in enumerate(figures.histogram):
            self.histogram[index] += count

    def to_message(self) -> dict[str, Any]:
        return dict(vars(self))


class Cells:
    """Which cells of the scoreboard are free. The longest free one is reused first, so that a reader that has
    just learned of a cell is not overtaken by its next owner."""

    def __init__(self, scoreboard: Scoreboard) -> None:
        self._scoreboard = scoreboard
        self._free = deque(range(scoreboard.cells))

    def take(self) -> int | None:
        """Return a cleared cell, or None when every one is in use."""
        if not self._free:
            return None
        index = self._free.popleft()
        self._scoreboard.cell(index).clear()
        return index

    def give_back(self, index: int) -> None:
        self._free.append(index)
