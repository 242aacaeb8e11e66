"""Requests that take long: each is logged once, with the lines in which it waits, and goes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from ...core.clock import show_duration
from ...core.log.lines import LineLog
from .requests_table import Request, describe
from .task_stacks import await_stack, family

_LEAST_S, _MOST_S = 0.02, 0.5


class SlowRequests:
    """Looks now and then instead of timing each request, so a request that is not slow costs nothing."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        under_way: Callable[[], Iterable[Request]],
        limit_s: float,
        log: LineLog,
    ) -> None:
        """under_way: returns the requests that the app is busy with."""
        self._loop = loop
        self._under_way = under_way
        self._limit_s = limit_s
        self._every_s = min(_MOST_S, max(_LEAST_S, limit_s / 4))
        self._log = log
        #: Those that have been logged, by identity; the objects are held so that no identity is used again.
        self._said: dict[int, Request] = {}

    def start(self) -> None:
        self._loop.call_later(self._every_s, self._look)

    def _look(self) -> None:
        since = time.perf_counter() - self._limit_s
        slow = {id(request): request for request in self._under_way() if request.started < since}
        for identity, request in slow.items():
            if identity not in self._said:
                self._say(request)
        self._said = slow
        self.start()

    def _say(self, request: Request) -> None:
        lines: list[str] = []
        for task in family(request.task) if request.task is not None else ():
            lines += [f"Task {task.get_name()} waits (outermost await first):", *await_stack(task)]
        self._log.warning(
            f"slow request, longer than {show_duration(self._limit_s)}: {describe(request)}",
            method=request.scope.get("method", ""),
            path=request.scope["path"],
            age_s=round(time.perf_counter() - request.started, 3),
            traceback="\n".join(lines),
        )
