"""What the page plots: one point a second for the last ten minutes, and what happened in that time."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from ..core.record import replace
from ..status.latency import LatencyHistogram
from ..status.records import ServerStatus, WorkerStatus

_POINTS = 600
_EVENTS = 60
#: The windows of what the page shows as a number.
RECENT_S, MINUTE_S = 10.0, 60.0
#: What becoming so is worth saying.
_STATES = {
    "reloading": "a new generation is being made",
    "degraded": "fewer workers than wanted can serve",
    "failed": "no worker can be kept up",
    "draining": "told to stop; still accepting for --drain-delay",
    "stopping": "no connection is accepted any more",
}


class History:
    """Made from successive status readings. Rates and latencies are those between two of them."""

    def __init__(self) -> None:
        self.points: deque[dict[str, Any]] = deque(maxlen=_POINTS)
        self.events: deque[dict[str, Any]] = deque(maxlen=_EVENTS)
        #: Requests a second by the worker's pid.
        self.worker_rates: dict[int, float] = {}
        self._last: ServerStatus | None = None
        #: The readings of the last seconds, for figures that one second would make jump.
        self._readings: deque[tuple[float, ServerStatus]] = deque()
        #: Of the last minute: when, answers by class, restarts; by worker its 5xx.
        self._counts: deque[tuple[float, dict[str, int], dict[int, int]]] = deque()
        self._last_at = 0.0

    def add(self, status: ServerStatus) -> None:
        """Take a reading, about once a second."""
        now, before = time.monotonic(), self._last
        if before is not None and now > self._last_at:
            self.points.append(self._point(before, status, now - self._last_at))
            self._note(before, status)
        elif before is None:
            if status.last_upgrade is not None:
                self._note_upgrade(status)
            if status.last_reload is not None:
                self._note_reload(status)
        self._last, self._last_at = status, now
        self._readings.append((now, status))
        while now - self._readings[0][0] > RECENT_S + 0.5:
            self._readings.popleft()
        restarts = sum(slot.restarts for slot in status.slots)
        counts = {**status.totals.responses, "answers": _answers(status), "restarts": restarts}
        self._counts.append((now, counts, {worker.pid: worker.responses["5xx"] for worker in status.workers}))
        while now - self._counts[0][0] > MINUTE_S + 0.5:
            self._counts.popleft()

    def minute(self) -> dict[str, int]:
        """Return answers, by class too, and restarts of the last minute."""
        if not self._counts:
            return {}
        first, last = self._counts[0][1], self._counts[-1][1]
        return {name: max(0, count - first.get(name, 0)) for name, count in last.items()}

    def recent(self) -> dict[str, float | None]:
        """Return rates and latencies of the last ten seconds."""
        if len(self._readings) < 2:
            return {}
        (began, before), (ended, after) = self._readings[0], self._readings[-1]
        seconds = ended - began
        latency = _since(before.totals.latency, after.totals.latency)
        found: dict[str, float | None] = {
            name: max(0, after.totals.responses[name] - before.totals.responses[name]) / seconds
            for name in ("4xx", "5xx")
        }
        found["rate"] = max(0, _answers(after) - _answers(before)) / seconds
        return found | {f"p{share}": latency.quantile(share / 100) for share in (50, 95, 99)}

    def recent_of(self, pid: int) -> dict[str, Any]:
        """Return of one worker the p99 of the last ten seconds, and its 5xx of the last minute."""
        if not self._readings:
            return {"p99": None, "5xx": 0}
        before, after = (_worker(status, pid) for _, status in (self._readings[0], self._readings[-1]))
        p99 = None
        if after is not None:
            latency = _since(before.latency, after.latency) if before is not None else after.latency
            p99 = latency.quantile(0.99)
        failed = [counts[pid] for _, _, counts in self._counts if pid in counts]
        return {"p99": p99, "5xx": failed[-1] - failed[0] if failed else 0}

    def _point(self, before: ServerStatus, after: ServerStatus, seconds: float) -> dict[str, Any]:
        latency = _since(before.totals.latency, after.totals.latency)
        earlier = {worker.pid: worker.requests for worker in before.workers}
        self.worker_rates = {
            worker.pid: max(0, worker.requests - earlier.get(worker.pid, 0)) / seconds for worker in after.workers
        }
        # A loop that is busy with the app's start keeps no request waiting.
        up = [worker for worker in after.workers if worker.state != "starting"]
        return {
            "at": round(time.time(), 2),
            # Finished requests, by the clock of whoever asks: what a client counts in the same second.
            "rate": max(0, _answers(after) - _answers(before)) / seconds,
            "errors": max(0, after.totals.responses["5xx"] - before.totals.responses["5xx"]) / seconds,
            "bad": max(0, after.totals.responses["4xx"] - before.totals.responses["4xx"]) / seconds,
            "p50": latency.quantile(0.5),
            "p95": latency.quantile(0.95),
            "p99": latency.quantile(0.99),
            "in_flight": sum(worker.in_flight for worker in after.workers),
            "lag": max((worker.loop_lag_s for worker in up), default=0.0),
            "busy": max((worker.loop_busy for worker in up), default=0.0),
            "memory": after.pss_bytes if after.pss_bytes is not None else after.rss_bytes,
            "ready": after.ready_workers,
        }

    def _note(self, before: ServerStatus, after: ServerStatus) -> None:
        if after.last_reload is not None and after.last_reload != before.last_reload:
            self._note_reload(after)
        if after.last_upgrade is not None and after.last_upgrade != before.last_upgrade:
            self._note_upgrade(after)
        exits = {slot.slot: slot.last_exit for slot in before.slots}
        for slot in sorted(after.slots, key=lambda slot: slot.last_exit.at if slot.last_exit is not None else 0.0):
            ended = slot.last_exit
            # A reload replaces every worker, and has an entry of its own.
            if ended is not None and ended != exits.get(slot.slot) and ended.why not in ("reload", "stop"):
                kind = "died" if slot.restarts != _restarts(before, slot.slot) else "replaced"
                text = f"slot {slot.slot}, pid {ended.pid}: {ended.how} ({ended.why})"
                self._event(ended.at, kind, text)
        if after.target_workers != before.target_workers:
            self._event(time.time(), "scaled", f"from {before.target_workers} to {after.target_workers} workers")
        if after.state != before.state and after.state in _STATES:
            self._event(time.time(), after.state, _STATES[after.state])

    def _note_reload(self, status: ServerStatus) -> None:
        last = status.last_reload
        assert last is not None
        if last.ok:
            self._event(last.at, "reloaded", f"generation {last.generation} serves after {last.seconds:.2f} s")
        else:
            self._event(last.at, "refused", f"generation {last.generation} refused: {last.reason}")

    def _note_upgrade(self, status: ServerStatus) -> None:
        last = status.last_upgrade
        assert last is not None
        if last.ok:
            text = f"pid {last.pid} serves in the place of pid {last.replaced} after {last.seconds:.2f} s"
            self._event(last.at, "upgraded", text)
        else:
            self._event(last.at, "refused", f"upgrade refused: {last.reason}")

    def _event(self, at: float, kind: str, text: str) -> None:
        self.events.append({"at": round(at, 2), "kind": kind, "text": text[:300]})


def _worker(status: ServerStatus, pid: int) -> WorkerStatus | None:
    return next((worker for worker in status.workers if worker.pid == pid), None)


def _answers(status: ServerStatus) -> int:
    return sum(status.totals.responses.values())


def _restarts(status: ServerStatus, index: int) -> int:
    return next((slot.restarts for slot in status.slots if slot.slot == index), 0)


def _since(before: LatencyHistogram, after: LatencyHistogram) -> LatencyHistogram:
    counts = tuple(max(0, now - then) for now, then in zip(after.counts, before.counts, strict=True))
    return replace(after, counts=counts, count=sum(counts), sum_s=max(0.0, after.sum_s - before.sum_s))
