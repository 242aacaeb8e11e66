"""The end of a worker: the program's exit handlers (atexit), then the process."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from ..core.clock import monotonic, show_duration
from ..core.log.spoken import say_rest
from ..core.process.exit_handlers import run_exit_handlers

#: What exit handlers get where the app's own shutdown has used up all of its time.
_LEAST_S = 0.5


class Farewell:
    """Ends this process. The app's shutdown and the exit handlers share one time, `bound_s`."""

    def __init__(self, bound_s: float, tell: Callable[[str], None]) -> None:
        """tell: says why it does not end as it should."""
        self._bound_s = bound_s
        self._tell = tell
        self._began_at: float | None = None

    def begin(self) -> None:
        """The app's shutdown begins."""
        self._began_at = monotonic()

    def leave(self, code: int) -> NoReturn:
        """Run the exit handlers and end with `code`. Threads that do not end keep nobody."""
        now = monotonic()
        left_s = self._bound_s - (now - self._began_at if self._began_at is not None else 0.0)

        def give_up(where: str) -> NoReturn:
            self._tell(
                f"the program's exit handlers (atexit) were not done within {show_duration(self._bound_s)} "
                f"(--shutdown-timeout); the one that holds up is {where}"
            )
            _end(code or 1)

        coverage = _running_coverage()  # its own exit handler stops it
        run_exit_handlers(max(_LEAST_S, left_s), give_up)
        if coverage is not None:
            with contextlib.suppress(Exception):
                coverage.stop()
                coverage.save()
        _end(code)

    def leave_by(self, error: SystemExit) -> NoReturn:
        """As Python does at sys.exit(); which code of the app's has called, and is so in the log."""
        if error.code is not None and not isinstance(error.code, int):
            print(error.code, file=sys.stderr)  # noqa: T201
            self.leave(1)
        self.leave((error.code or 0) & 0xFF)


def _running_coverage() -> Any:
    """Return what `coverage run` measures with: it saves when the program returns, which a copy never does."""
    measuring = getattr(sys.modules.get("coverage"), "Coverage", None)
    return measuring.current() if measuring is not None else None


def _end(code: int) -> NoReturn:
    say_rest()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)
