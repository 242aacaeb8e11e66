"""The one word at the top of the page, and why: green only where nothing needs a look."""

from __future__ import annotations

from typing import Any

from ..core.clock import show_duration
from ..status.records import ServerStatus, WorkerStatus

#: A heartbeat that is older than this is overdue; it comes every half second, and slower where a loop is busy.
LATE_S = 2.0
#: Of the last minute's answers, and at least so many of them.
_FAILED_SHARE, _FAILED_LEAST = 0.05, 5
_GOOD = ("ready", "reloaded")


def is_stuck(worker: WorkerStatus) -> bool:
    """Whether its event loop stands still: it accepts nothing and answers nobody."""
    return worker.state in ("ready", "draining") and worker.heartbeat_age_s > LATE_S


def health(status: ServerStatus, minute: dict[str, int]) -> dict[str, Any]:
    """Return word, tone (good, warn, bad) and reasons. minute: answers by class, and restarts, of the last minute."""
    found: list[tuple[str, str, str]] = []
    for worker in status.workers:
        if is_stuck(worker):
            age = show_duration(worker.heartbeat_age_s)
            found.append(
                ("bad", "stuck", f"slot {worker.slot} (pid {worker.pid}) has not run its event loop for {age}")
            )
    for slot in status.slots:
        if slot.state == "failed":
            found.append(("bad", "crash loop", f"slot {slot.slot} is given up after repeated failures"))
        elif slot.state == "backoff":
            found.append(("bad", "crash loop", f"slot {slot.slot} has lost its worker {slot.restarts} times"))
    restarts = minute.get("restarts", 0)
    if restarts and not any(word == "crash loop" for _, word, _ in found):
        plural = "s" if restarts != 1 else ""
        found.append(("warn", "restarted", f"{restarts} worker{plural} died in the last minute"))
    answers, failed = minute.get("answers", 0), minute.get("5xx", 0)
    if failed >= _FAILED_LEAST and failed >= _FAILED_SHARE * answers:
        share = f"{failed / answers:.0%}"
        found.append(("bad", "errors", f"{share} of the answers of the last minute were 5xx ({failed} of {answers})"))
    if status.state not in _GOOD:
        tone = "bad" if status.state in ("failed", "stopped") else "warn"
        found.insert(0, (tone, status.state, ""))
    if not found:
        return {"word": status.state, "tone": "good", "why": []}
    tone, word, _ = min(found, key=lambda reason: reason[0] != "bad")
    return {"word": word, "tone": tone, "why": [why for _, _, why in found if why][:8]}
