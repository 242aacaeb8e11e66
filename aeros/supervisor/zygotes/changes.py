"""What the processes that have a program say of its files (--reload)."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.sources import WATCH_EVERY_S


class Changes:
    """Every process that has the program looks at its files, so one save is told by several. Only the first counts."""

    #: Two looks at the same change are not further apart than this, on a busy machine.
    _SAME_S = 4 * WATCH_EVERY_S

    def __init__(self) -> None:
        self._told: dict[str, tuple[int, float]] = {}

    def new(self, teller: int, paths: Sequence[str], now: float) -> list[str]:
        """Return those of `paths` that no other process told of a moment ago. teller: the process that tells now."""
        self._told = {path: told for path, told in self._told.items() if now - told[1] < self._SAME_S}
        # The same process tells of a file again only if that has changed again.
        new = [path for path in paths if self._told.get(path, (teller, now))[0] == teller]
        self._told |= dict.fromkeys(new, (teller, now))
        return new
