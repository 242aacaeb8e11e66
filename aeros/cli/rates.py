"""What happened between two readings of the status: requests per second, and latencies of that window alone."""

from __future__ import annotations

from typing import Any

from ..core.record import as_dict, record
from ..status.latency import LatencyHistogram
from ..status.records import ServerStatus


@record
class Rates:
    """Of one worker or of the whole server, over `seconds`. Latencies in seconds; None without a finished request."""

    seconds: float
    requests_per_s: float
    errors_per_s: float
    latency_p50_s: float | None
    latency_p95_s: float | None
    latency_p99_s: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return the same as plain numbers."""
        return as_dict(self)


def rates(before: ServerStatus | None, now: ServerStatus, seconds: float) -> tuple[Rates, dict[int, Rates]]:
    """Return the rates of the server, and those of each worker by pid. Without `before`: since they started.

    seconds: between the two. errors: responses of the class 5xx.
    """
    total = now.totals
    begun = before.totals if before is not None else None
    whole = _between(
        (begun.requests, begun.responses["5xx"], begun.latency) if begun is not None else None,
        (total.requests, total.responses["5xx"], total.latency),
        seconds if begun is not None else now.uptime_s,
    )
    old = {worker.pid: worker for worker in before.workers} if before is not None else {}
    each = {}
    for worker in now.workers:
        earlier = old.get(worker.pid)
        each[worker.pid] = _between(
            (earlier.requests, earlier.responses["5xx"], earlier.latency) if earlier is not None else None,
            (worker.requests, worker.responses["5xx"], worker.latency),
            seconds if earlier is not None else worker.uptime_s,
        )
    return whole, each


_Counts = tuple[int, int, LatencyHistogram]


def _between(before: _Counts | None, now: _Counts, seconds: float) -> Rates:
    requests, errors, latency = now
    if before is not None:
        requests -= before[0]
        errors -= before[1]
        latency = LatencyHistogram(
            latency.bounds_s,
            tuple(max(0, after - earlier) for after, earlier in zip(latency.counts, before[2].counts, strict=True)),
            latency.sum_s - before[2].sum_s,
            max(0, latency.count - before[2].count),
        )
    span = max(seconds, 0.001)
    return Rates(
        round(span, 3),
        round(max(0, requests) / span, 1),
        round(max(0, errors) / span, 1),
        *(None if (value := latency.quantile(q)) is None else round(value, 6) for q in (0.5, 0.95, 0.99)),
    )
