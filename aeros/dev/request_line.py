"""A line in the terminal for each request: time, what was asked, status, how long it took."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import Any

from ..core.text import one_line

_RESET, _DIM = "\x1b[0m", "\x1b[2m"
_OF_STATUS = {2: "\x1b[32m", 3: "\x1b[36m", 4: "\x1b[33m", 5: "\x1b[31m"}


class RequestLines:
    """Writes to standard error; in colour where that is a terminal, or FORCE_COLOR is set, and NO_COLOR is not."""

    def __init__(self) -> None:
        forced = bool(os.environ.get("FORCE_COLOR"))
        self._colour = not os.environ.get("NO_COLOR") and (forced or os.isatty(2))

    def show(self, scope: dict[str, Any], status: int, seconds: float) -> None:
        """status: 0 where the client was gone before there was one."""
        target = scope.get("raw_path") or scope["path"].encode()
        if scope["query_string"]:
            target += b"?" + scope["query_string"]
        what = one_line(f"{scope['method']} {target.decode('latin-1')}")
        stamp, took = time.strftime("%H:%M:%S"), f"{seconds * 1000:.1f} ms"
        colour = _OF_STATUS.get(status // 100, _OF_STATUS[5])
        if self._colour:
            line = f"{_DIM}{stamp}{_RESET} {colour}{status or '---'}{_RESET} {what} {_DIM}{took}{_RESET}\n"
        else:
            line = f"{stamp} {status or '---'} {what} {took}\n"
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            sys.stderr.write(line)
            sys.stderr.flush()
