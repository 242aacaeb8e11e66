"""Requests that are cut because the time to drain is over: named in the log, with the lines in which they wait."""

from __future__ import annotations

import time
from collections.abc import Iterable

from ...core.log.lines import LineLog
from .requests_table import Request, describe
from .task_stacks import await_stack, family

_MOST_NAMED, _MOST_STACKS = 20, 10


def tell_cut(requests: Iterable[Request], log: LineLog) -> None:
    """Log them, the oldest first; nothing where there are none."""
    cut = sorted(requests, key=lambda request: request.started)
    if not cut:
        return
    lines: list[str] = []
    for request in cut[:_MOST_STACKS]:
        lines.append(f"{describe(request)}:")
        for task in family(request.task) if request.task is not None else ():
            lines += [f"Task {task.get_name()} waits (outermost await first):", *await_stack(task)]
    now = time.perf_counter()
    named = ", ".join(
        f"{request.scope.get('method', 'WebSocket')} {request.scope['path']} ({now - request.started:.1f} s)"
        for request in cut[:_MOST_NAMED]
    )
    more = f" and {len(cut) - _MOST_NAMED} more" if len(cut) > _MOST_NAMED else ""
    log.info(f"the time to drain is over; cut: {named}{more}", traceback="\n".join(lines))
