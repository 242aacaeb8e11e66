"""What fails inside HTTP/3 is counted, and told once in a while: a client may be its cause, and come again."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...core.clock import monotonic

if TYPE_CHECKING:
    from ...core.log.lines import LineLog

LINE_EVERY_S = 60.0
"""Of each kind of failure one is logged in this time."""


class Failures:
    """Of one worker. count: called for each."""

    def __init__(self, count: Callable[[], None], log: LineLog) -> None:
        self._count = count
        self._log = log
        self._quiet_until: dict[str, float] = {}

    def of_connection(self, error: BaseException) -> None:
        """A connection has ended for it."""
        self._add("a connection of HTTP/3 failed", error)

    def of_socket(self, error: BaseException) -> None:
        """A socket is not served for a moment."""
        self._add("HTTP/3 is served again in a moment, after", error)

    def _add(self, what: str, error: BaseException) -> None:
        self._count()
        now = monotonic()
        if now >= self._quiet_until.get(what, now):
            self._quiet_until[what] = now + LINE_EVERY_S
            text = "".join(traceback.format_exception(error))
            self._log.error(f"{what}: {type(error).__name__}: {error}", traceback=text)
