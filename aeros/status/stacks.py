"""Where a worker is: the stacks of its threads and the awaits of its tasks, as frozen records."""

from __future__ import annotations

from typing import Any

from ..core.record import as_dict, record


@record
class Stack:
    """One thread or task. stack: lines as in a traceback, outermost call or await first. request: what a task serves,
    "" where it serves none, and for threads."""

    name: str
    stack: tuple[str, ...]
    request: str = ""


@record
class WorkerStacks:
    """One worker at one moment.

    by: who told. "worker": the worker itself; "faulthandler": it did not answer, being in code that is not Python, and
    its threads were read without it, its tasks not; "": nothing could be learned (it is stopped, or gone). running:
    the request whose handler had the event loop, "" if none. more_tasks: how many are left out of tasks.
    """

    slot: int
    pid: int
    generation: int
    by: str
    running: str
    threads: tuple[Stack, ...]
    tasks: tuple[Stack, ...]
    more_tasks: int

    @classmethod
    def from_message(cls, record: dict[str, Any]) -> WorkerStacks:
        """Return what the supervisor answered."""
        lists = {name: tuple(_stack(item) for item in record[name]) for name in ("threads", "tasks")}
        return cls(**{**record, **lists})

    def to_dict(self) -> dict[str, Any]:
        """Return the same as plain dicts, lists, numbers and strings."""
        return as_dict(self)

    def __str__(self) -> str:
        lines = [f"worker slot={self.slot} gen={self.generation} pid={self.pid}"]
        if self.by == "faulthandler":
            lines[0] += " does not answer: code that is not Python has it. Its threads, without its tasks:"
        elif not self.by:
            lines[0] += " does not answer, and the system does not tell either: it is stopped, or gone"
        if self.running:
            lines.append(f"its event loop runs {self.running}")
        for thread in self.threads:
            lines += ["", f"Thread {thread.name} (most recent call last):"]
            lines += thread.stack or ("  waits for events",)
        for task in self.tasks:
            lines += [
                "",
                f"Task {task.name}{f', {task.request},' if task.request else ''} waits (outermost await first):",
            ]
            lines += task.stack
        if self.more_tasks:
            lines += ["", f"and {self.more_tasks} more tasks"]
        return "\n".join(lines)


def _stack(record: dict[str, Any]) -> Stack:
    return Stack(record["name"], tuple(record["stack"]), record.get("request", ""))
