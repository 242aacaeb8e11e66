"""What a worker is called: in a line of the log, and in what goes with the line."""

from __future__ import annotations

from typing import Any

from ...core.log.lines import worker_name
from ..model.fleet import Worker


def name_of(worker: Worker) -> str:
    """Return the worker as every log line writes it."""
    return worker_name(worker.slot, worker.generation, worker.pid)


def facts_of(worker: Worker) -> dict[str, Any]:
    """Return what a line about the worker has as keys of its own when the log is JSON."""
    return {"worker": worker.slot, "generation": worker.generation, "worker_pid": worker.pid}
