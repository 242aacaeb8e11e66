"""The files a running program was imported from, and which of them have changed since."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

#: How often `--reload` looks at them.
WATCH_EVERY_S = 0.5


class SourceFiles:
    """Those of this process, as they are on the disk now."""

    def __init__(self) -> None:
        self._times = _times()

    def changed(self) -> list[str]:
        """Return the paths of those that have changed, or are gone, since the last call; some 20 at most."""
        before, self._times = self._times, _times()
        changed = [path for path, time in self._times.items() if before.get(path, time) != time]
        return sorted(changed + [path for path in before if path not in self._times])[:20]


def _times() -> dict[str, float]:
    times: dict[str, float] = {}
    for module in list(sys.modules.values()):
        name = getattr(module, "__file__", None)
        if isinstance(name, str):
            with contextlib.suppress(OSError):
                times[name] = Path(name).stat().st_mtime
    return times
