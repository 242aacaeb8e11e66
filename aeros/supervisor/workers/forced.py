"""A stop that becomes forced: what is cut by it, and where it stood, is logged before the workers are killed."""

from __future__ import annotations

from collections.abc import Callable

from ..model.fleet import Worker
from ..state.office import Office
from .links import WorkerLink
from .names import facts_of, name_of
from .stacks import Stacks, as_text, take_stacks

#: Whoever forces a stop wants it now: so long is waited for stacks at most.
_WAIT_S = 0.15
_MOST_WORKERS, _MOST_NAMED = 8, 10


def tell_forced(office: Office, links: dict[int, WorkerLink], then: Callable[[], None]) -> None:
    """Log what the workers that have requests in flight are about, then call `then`."""
    now = office.system.monotonic()
    asked = 0
    for worker in list(office.fleet.workers.values()):
        link = links.get(worker.ident)
        if link is None or link.closed or not worker.pid or asked == _MOST_WORKERS:
            continue
        rows = office.scoreboard.cell(worker.cell).read_requests()
        if rows:
            asked += 1
            named = ", ".join(f"{row.method} {row.path} ({now - row.began:.1f} s)" for row in rows[:_MOST_NAMED])
            _ask(office, worker, link, named)
    if asked:
        office.loop.call_later(_WAIT_S, then)
    else:
        then()


def _ask(office: Office, worker: Worker, link: WorkerLink, named: str) -> None:
    def say(stacks: Stacks) -> None:
        parts = [as_text(stacks)]
        parts += [
            "\n".join([f"Task {task['name']}, {task['request']}, waits (outermost await first):", *task["stack"]])
            for task in stacks["tasks"]
            if task.get("request")
        ]
        text = "\n".join(filter(None, parts))
        office.log.info(f"{name_of(worker)} is ended with {named}", traceback=text, **facts_of(worker))

    take_stacks(office.loop, office.system, worker, link, say)
