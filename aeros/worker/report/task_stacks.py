"""Where tasks are: the chain of awaits of each, which a thread's stack does not show."""

from __future__ import annotations

import asyncio
import linecache
from types import FrameType
from typing import Any


def await_stack(task: asyncio.Task[Any]) -> list[str]:
    """Return the lines in which each coroutine of `task` waits, outermost first, as a traceback would show them."""
    lines: list[str] = []
    for frame in frames_of(task):
        code, number = frame.f_code, frame.f_lineno
        lines.append(f'  File "{code.co_filename}", line {number}, in {code.co_qualname}')
        source = linecache.getline(code.co_filename, number).strip()
        if source:
            lines.append(f"    {source}")
    return lines


def family(task: asyncio.Task[Any]) -> list[asyncio.Task[Any]]:
    """Return `task` and the tasks it waits for, and those they wait for: directly, by wait, gather or a TaskGroup."""
    found = [task]
    for one in found:
        found += [other for other in _awaited(one) if other not in found]
        if len(found) > 100:
            break
    return found


def _awaited(task: asyncio.Task[Any]) -> list[asyncio.Task[Any]]:
    waiter = getattr(task, "_fut_waiter", None)
    if waiter is None:
        return []
    found: Any = [waiter, *getattr(waiter, "_children", ())]  # of a gather
    frames = frames_of(task)
    if frames:
        known = frames[-1].f_locals
        # What asyncio.wait and TaskGroup keep while they wait; nothing else of theirs leads from one task to the next.
        found += known.get("fs") or () if frames[-1].f_code.co_name == "_wait" else ()
        found += getattr(known.get("self"), "_tasks", ()) if "aexit" in frames[-1].f_code.co_name else ()
    return [other for other in found if isinstance(other, asyncio.Task) and not other.done()]


def frames_of(task: asyncio.Task[Any]) -> list[FrameType]:
    """Return the frames of its coroutines, outermost first."""
    frames: list[FrameType] = []
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
        frames.append(frame)
        waiting = (
            getattr(waiting, "cr_await", None)
            or getattr(waiting, "ag_await", None)
            or getattr(waiting, "gi_yieldfrom", None)
        )
    return frames


def all_await_stacks() -> str:
    """Return the await stacks of all tasks of the running loop but the current one, as text."""
    current = asyncio.current_task()
    parts = []
    for task in asyncio.all_tasks():
        if task is not current:
            parts.append("\n".join([f"Task {task.get_name()} waits (outermost await first):", *await_stack(task)]))
    return "\n".join(sorted(parts))
