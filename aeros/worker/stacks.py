"""Where tasks are: the chain of awaits of each, which a thread's stack does not show."""

from __future__ import annotations

import asyncio
import linecache
from typing import Any


def await_stack(task: asyncio.Task[Any]) -> list[str]:
    """Return the lines in which each coroutine of `task` waits, outermost first, as a traceback would show them."""
    lines: list[str] = []
    waiting: Any = task.get_coro()
    # A bound, since an awaitable is free to claim that it waits for itself.
    for _ in range(100):
        frame = (
            getattr(waiting, "cr_frame", None)
            or getattr(waiting, "ag_frame", None)
            or getattr(waiting, "gi_frame", None)
        )
        if frame is None:
            break
        code, number = frame.f_code, frame.f_lineno
        lines.append(f'  File "{code.co_filename}", line {number}, in {code.co_qualname}')
        source = linecache.getline(code.co_filename, number).strip()
        if source:
            lines.append(f"    {source}")
        waiting = (
            getattr(waiting, "cr_await", None)
            or getattr(waiting, "ag_await", None)
            or getattr(waiting, "gi_yieldfrom", None)
        )
    return lines


def all_await_stacks() -> str:
    """Return the await stacks of all tasks of the running loop but the current one, as text."""
    current = asyncio.current_task()
    parts = []
    for task in asyncio.all_tasks():
        if task is not current:
            parts.append("\n".join([f"Task {task.get_name()} waits (outermost await first):", *await_stack(task)]))
    return "\n".join(sorted(parts))
