"""Stacks of a worker that goes on: asked for by a signal it answers itself, else by one that faulthandler answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from ...core.ipc.messages import MAX_MESSAGE_BYTES
from ...core.process.signalling import DUMP_SIGNAL, STACK_SIGNAL
from ..model.fleet import Worker
from ..system.system import System
from .links import WorkerLink

_LOOK_EVERY_S = 0.02
#: How long the interpreter may take to run the worker's own handler. Code in C may keep it from that for ever.
_OWN_WORDS_S = 0.7
_DUMP_S = 0.3
#: Of what a worker writes. Its own bounds (see `worker.autopsy`) are lower, but it need not keep to them.
_MOST_CHARS = 1 << 20
_MOST_STACKS, _MOST_LINES, _MOST_LINE_CHARS = 200, 100, 1000

#: {"by": "worker" | "faulthandler" | "", "running", "threads": [{"name", "stack"}], "tasks": […], "more_tasks"}
Stacks = dict[str, Any]


def take_stacks(
    loop: asyncio.AbstractEventLoop,
    system: System,
    worker: Worker,
    link: WorkerLink,
    give: Callable[[Stacks], None],
) -> None:
    """Ask a live worker where it is; `give` is called once, within a second, also when nothing could be learned."""
    link.read_dump()  # what somebody else had asked for
    text = ""

    def ask(signum: int, then: Callable[[float], None], wait_s: float) -> None:
        if link.closed or not system.send_signal(worker.pid, link.pidfd, signum):
            give(_nothing())
        else:
            loop.call_later(_LOOK_EVERY_S, then, loop.time() + wait_s)

    def own_words(until: float) -> None:
        nonlocal text
        text = _more(text, link)
        found = _own_words(text)
        if found is not None:
            give(found)
        elif loop.time() < until and not link.closed:
            loop.call_later(_LOOK_EVERY_S, own_words, until)
        else:
            ask(DUMP_SIGNAL, dumped, _DUMP_S)

    def dumped(until: float) -> None:
        nonlocal text
        if loop.time() < until:
            loop.call_later(_LOOK_EVERY_S, dumped, until)
            return
        text = _more(text, link)
        give(_own_words(text) or _from_faulthandler(text))

    ask(STACK_SIGNAL, own_words, _OWN_WORDS_S)


def _more(text: str, link: WorkerLink) -> str:
    """Return what the worker has written by now, as much of it as is looked at."""
    return text if link.closed or len(text) > _MOST_CHARS else text + link.read_dump()


def as_text(stacks: Stacks) -> str:
    """Return the stacks of the threads as the log shows them."""
    parts = []
    for thread in stacks["threads"]:
        parts += [f"Thread {thread['name']} (most recent call last):", *thread["stack"]]
    return "\n".join(parts)


def _nothing() -> Stacks:
    return {"by": "", "running": "", "threads": [], "tasks": [], "more_tasks": 0}


def _own_words(text: str) -> Stacks | None:
    """Return the report in `text` if there is one. The worker may have written anything: only what fits is taken."""
    for line in text.splitlines():
        if line.startswith('{"running"'):
            try:
                found = json.loads(line)
            except (ValueError, RecursionError):  # not whole yet
                return None
            more = found.get("more_tasks")
            stacks = {
                "by": "worker",
                "running": _text(found.get("running")),
                "threads": _stacks(found.get("threads")),
                "tasks": _stacks(found.get("tasks")),
                "more_tasks": more if isinstance(more, int) and 0 <= more < 2**31 else 0,
            }
            return _short_enough(stacks)
    return None


def _stacks(items: object) -> list[dict[str, Any]]:
    """Return threads or tasks as an answer has them."""
    return [
        {
            "name": _text(item.get("name")),
            **({"request": _text(item["request"])} if "request" in item else {}),
            "stack": [_text(line) for line in stack[:_MOST_LINES]],
        }
        for item in (items[:_MOST_STACKS] if isinstance(items, list) else [])
        if isinstance(item, dict) and isinstance(stack := item.get("stack"), list)
    ]


def _text(value: object) -> str:
    return value[:_MOST_LINE_CHARS] if isinstance(value, str) else ""


def _short_enough(stacks: Stacks) -> Stacks:
    """Return `stacks` with so many tasks, then threads, that an answer can carry them."""
    while len(json.dumps(stacks)) > MAX_MESSAGE_BYTES // 2:
        if stacks["tasks"]:
            kept = len(stacks["tasks"]) // 2
            stacks["more_tasks"] += len(stacks["tasks"]) - kept
            stacks["tasks"] = stacks["tasks"][:kept]
        else:
            stacks["threads"] = stacks["threads"][: len(stacks["threads"]) // 2]
    return stacks


def _from_faulthandler(text: str) -> Stacks:
    """Return the threads in faulthandler's text, turned round: it puts the most recent call first."""
    stacks = _nothing()
    for line in text.splitlines():
        if line.startswith("  File"):
            if stacks["threads"]:
                stacks["threads"][-1]["stack"].insert(0, line)
        elif "hread 0x" in line:
            name = "MainThread" if line.startswith("Current") else line.partition(" (most")[0].removeprefix("Thread ")
            stacks["threads"].append({"name": name, "stack": []})
    stacks["by"] = "faulthandler" if stacks["threads"] else ""
    stacks["threads"].sort(key=lambda thread: thread["name"] != "MainThread")
    return _short_enough(stacks)
