"""The app's hooks around its processes, and what each is told."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from .core.record import record
from .errors import OptionsError


@record
class WorkerInfo:
    """The worker a hook is about. pid: 0 in `before_fork`, when there is none yet. how: "" until it has ended,
    then "exit code 0", "SIGKILL", …"""

    slot: int
    generation: int
    pid: int = 0
    how: str = ""


Hook = Callable[..., Any]


class Hooks:
    """The functions an app has registered, by event. Each may take one argument or none."""

    EVENTS = ("before_fork", "after_fork", "worker_ready", "worker_exit", "on_reload")

    def __init__(self) -> None:
        self._functions: dict[str, list[Hook]] = {event: [] for event in self.EVENTS}

    def add(self, event: str, function: Hook) -> None:
        """Register. Raises OptionsError for a coroutine function where there is no event loop to run it."""
        if event != "worker_ready" and inspect.iscoroutinefunction(function):
            raise OptionsError(
                f"@{event} runs where there is no event loop, so {function.__qualname__} must be a plain def "
                "(async work belongs in @before_serving or @worker_ready)"
            )
        self._functions[event].append(function)

    def registered(self, *events: str) -> list[str]:
        """Return those of the events that have a function."""
        return [event for event in events if self._functions[event]]

    def run(self, event: str, about: object) -> None:
        """Call the functions of `event` in the order they were registered. What they raise goes to the caller."""
        for function in self._functions[event]:
            _call(function, about)

    async def run_async(self, event: str, about: object) -> None:
        """The same inside an event loop; coroutine functions are awaited."""
        for function in self._functions[event]:
            result = _call(function, about)
            if isinstance(result, Awaitable):
                await result


def _call(function: Hook, about: object) -> object:
    try:
        takes_one = bool(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        takes_one = True
    result: object = function(about) if takes_one else function()
    return result
