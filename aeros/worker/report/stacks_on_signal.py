"""Where this worker is, in its own words: the stacks of its threads, the awaits of its tasks, the request that runs.

Asked by a signal with a Python handler: the interpreter runs it between any two bytecodes, and out of a sleep, so that
a loop blocked in Python code answers as well, holding the interpreter's lock, which makes it safe to look at other
threads. Code in C that does not come back is left to faulthandler.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

from ...core.process.signalling import STACK_SIGNAL
from .requests_table import Request, describe
from .task_stacks import await_stack, family

_MOST_THREADS, _MOST_TASKS, _MOST_LINES = 64, 100, 80


Served = Callable[[], Iterable[Request]]
"""Returns the requests and WebSockets under way."""


def answer_by_signal(loop: asyncio.AbstractEventLoop, served: Served, fd: int) -> None:
    """Have STACK_SIGNAL write a report to `fd`, one JSON object on a line of its own. Called in the main thread."""

    def report(signum: int, frame: FrameType | None) -> None:
        # Whatever happens here must not happen to the handler that was interrupted.
        with contextlib.suppress(Exception):
            os.write(fd, b"\n" + json.dumps(_report(loop, served, frame)).encode() + b"\n")

    signal.signal(STACK_SIGNAL, report)
    signal.siginterrupt(STACK_SIGNAL, False)


def _report(loop: asyncio.AbstractEventLoop, served: Served, frame: FrameType | None) -> dict[str, Any]:
    requests = {id(task): request for request in served() if request.task is not None for task in family(request.task)}
    current = asyncio.current_task(loop)
    running = requests.get(id(current))
    tasks = [
        {
            "name": task.get_name(),
            "request": describe(requests[id(task)]) if id(task) in requests else "",
            "stack": _cut(await_stack(task)),
        }
        for task in sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
        if task is not current
    ]
    # Those that serve somebody first.
    tasks.sort(key=lambda task: not task["request"])
    return {
        "running": describe(running) if running is not None else "",
        "threads": _threads(frame),
        "tasks": tasks[:_MOST_TASKS],
        "more_tasks": max(0, len(tasks) - _MOST_TASKS),
    }


def _threads(frame: FrameType | None) -> list[dict[str, Any]]:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    mine = threading.get_ident()
    found = [{"name": names.get(mine, "MainThread"), "stack": _cut(_below_the_loop(frame))}]
    for ident, other in sys._current_frames().items():
        if ident != mine:
            found.append({"name": names.get(ident, f"thread {ident:#x}"), "stack": _cut(_lines(other))})
    return found[:_MOST_THREADS]


def _below_the_loop(frame: FrameType | None) -> list[str]:
    """Return the stack without what leads to the event loop, which is no news; nothing if it waits for events."""
    lines = _lines(frame)
    last = max((index for index, line in enumerate(lines) if "/asyncio/runners.py" in line), default=-1)
    below = lines[last + 1 :]
    if any("/selectors.py" in line for line in below[-3:]):
        return []  # as with uvloop, whose waiting is no Python code
    # The source line of the last frame that was dropped.
    return below[1:] if below and not below[0].startswith("  File") else below


def _lines(frame: FrameType | None) -> list[str]:
    text = "".join(traceback.format_stack(frame)) if frame is not None else ""
    return text.splitlines()


def _cut(lines: list[str]) -> list[str]:
    if len(lines) <= _MOST_LINES:
        return lines
    return [*lines[:20], f"  … {len(lines) - _MOST_LINES} lines left out", *lines[20 - _MOST_LINES :]]
