"""Who this process is: what `app.worker` and `app.server` answer from inside a worker."""

from __future__ import annotations

from ..core.record import field, record
from ..core.shared.scoreboard import Scoreboard
from ..errors import StateError


@record
class WorkerContext:
    """This worker. slot: 0 to N-1, stable across restarts. generation: the code version it was forked from."""

    slot: int
    generation: int
    pid: int
    scoreboard: Scoreboard = field(repr=False)


#: Set once in a worker, right after its fork; None in every other process.
current: WorkerContext | None = None


def current_worker() -> WorkerContext:
    """Return the worker this code runs in: its slot, generation and pid. Raises StateError outside of a worker."""
    if current is None:
        raise StateError("this code does not run in a worker")
    return current
