"""/metrics: what the scoreboard says, as Prometheus reads it.

Counters come from the supervisor's ledger and the living workers' cells together, so they never go down, whichever
worker or dashboard dies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from ..core.ipc.dashboard import AdminSettings
from ..status.latency import LatencyHistogram
from ..status.records import ServerStatus, WorkerStatus
from ..version import __version__

if TYPE_CHECKING:
    from .source import Source

_STATES = ("starting", "ready", "reloading", "degraded", "failed", "draining", "stopping")
#: Every second bound of the finer histogram, so a bucket ends at twice the bound of the one before: 21 series.
_EVERY = 2


def make_registry(source: Source, settings: AdminSettings) -> CollectorRegistry:
    """Return a registry of the server's metrics and, where they are shared, of the app's."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ServerCollector(source))
    if settings.metrics_directory:
        from .shared import SharedMetrics

        registry.register(SharedMetrics(settings.metrics_directory))
    return registry


class ServerCollector(Collector):
    """The latest status as metric families."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        status = self._source.latest
        if status is None:
            return
        yield from _server(status)
        yield from _totals(status)
        yield from _slots(status)
        yield from _workers(status.workers)


def _server(status: ServerStatus) -> Iterator[Metric]:
    yield _gauge("aeros_info", "Always 1.", [((__version__,), 1)], ["version"])
    yield _gauge("aeros_start_time_seconds", "When the server started, epoch seconds.", [((), status.started_at)])
    yield _gauge("aeros_generation", "The generation that serves.", [((), status.generation)])
    yield _gauge(
        "aeros_state",
        "1 for the state the server is in.",
        [((state,), int(state == status.state)) for state in _STATES],
        ["state"],
    )
    yield _gauge("aeros_workers_target", "Workers there should be.", [((), status.target_workers)])
    yield _gauge("aeros_workers_ready", "Workers that accept connections.", [((), status.ready_workers)])
    queues = [queue for queue in status.accept_queue if queue.length is not None]
    yield _gauge(
        "aeros_accept_queue",
        "Connections that wait to be accepted.",
        [((queue.address,), queue.length or 0) for queue in queues],
        ["address"],
    )
    yield _gauge(
        "aeros_accept_queue_limit",
        "Connections that may wait.",
        [((queue.address,), queue.limit or 0) for queue in queues],
        ["address"],
    )
    last = status.last_reload
    if last is not None:
        yield _gauge("aeros_last_reload_time_seconds", "When the last reload ended, epoch seconds.", [((), last.at)])
        yield _gauge("aeros_last_reload_success", "Whether the last reload succeeded.", [((), int(last.ok))])
        yield _gauge("aeros_last_reload_duration_seconds", "How long the last reload took.", [((), last.seconds)])


def _totals(status: ServerStatus) -> Iterator[Metric]:
    totals = status.totals
    yield _counter("aeros_requests", "Requests begun.", [((), totals.requests)])
    yield _counter(
        "aeros_responses",
        "Requests ended, by class of the status; none: the client or the worker was gone.",
        [((name,), count) for name, count in totals.responses.items()],
        ["class"],
    )
    yield _histogram(totals.latency)
    yield _counter("aeros_connections", "Connections accepted.", [((), totals.connections)])
    yield _counter("aeros_websockets", "WebSockets opened.", [((), totals.websockets)])
    yield _counter("aeros_tls_handshakes_failed", "TLS handshakes that failed.", [((), totals.handshakes_failed)])
    yield _counter("aeros_http3_failures", "Failures inside HTTP/3.", [((), totals.http3_failures)])
    yield _counter("aeros_received_bytes", "Bytes of requests.", [((), totals.bytes_in)])
    yield _counter("aeros_sent_bytes", "Bytes of responses.", [((), totals.bytes_out)])
    yield _counter(
        "aeros_worker_exits",
        "Workers that ended, by reason.",
        [((why,), count) for why, count in totals.worker_exits.items()],
        ["reason"],
    )
    yield _counter(
        "aeros_reloads",
        "Reloads, by outcome.",
        [((outcome,), count) for outcome, count in totals.reloads.items()],
        ["outcome"],
    )


def _slots(status: ServerStatus) -> Iterator[Metric]:
    slots = [((str(slot.slot),), slot) for slot in status.slots]
    yield _counter(
        "aeros_slot_requests",
        "Requests begun by all workers a slot has had.",
        [(label, slot.requests) for label, slot in slots],
        ["slot"],
    )
    yield _counter(
        "aeros_slot_responses_5xx",
        "Responses 5xx of all workers a slot has had.",
        [(label, slot.responses_5xx) for label, slot in slots],
        ["slot"],
    )
    yield _counter(
        "aeros_slot_restarts",
        "Workers a slot has lost unexpectedly.",
        [(label, slot.restarts) for label, slot in slots],
        ["slot"],
    )
    yield _gauge(
        "aeros_slot_failing",
        "1 while a slot waits before the next attempt to fill it.",
        [(label, int(slot.state in ("backoff", "failed"))) for label, slot in slots],
        ["slot"],
    )


def _workers(workers: Sequence[WorkerStatus]) -> Iterator[Metric]:
    def each(name: str, about: str, values: Sequence[float | None]) -> Metric:
        labelled = zip(workers, values, strict=True)
        samples = [((str(w.slot), str(w.generation)), value) for w, value in labelled if value is not None]
        # An old worker and its replacement can share slot and generation for a moment; the later one speaks for it.
        return _gauge(name, about, list(dict(samples).items()), ["slot", "generation"])

    yield each("aeros_worker_up_seconds", "Age of the worker.", [worker.uptime_s for worker in workers])
    yield each("aeros_worker_ready", "1 while it is ready.", [int(worker.state == "ready") for worker in workers])
    yield each("aeros_worker_in_flight", "Requests in progress.", [worker.in_flight for worker in workers])
    yield each("aeros_worker_connections", "Connections open.", [worker.connections for worker in workers])
    yield each("aeros_worker_websockets", "WebSockets open.", [worker.websockets for worker in workers])
    yield each("aeros_worker_loop_lag_seconds", "Event loop lag.", [worker.loop_lag_s for worker in workers])
    yield each("aeros_worker_loop_busy_ratio", "Share of time the loop was busy.", [w.loop_busy for w in workers])
    yield each("aeros_worker_heartbeat_age_seconds", "Since it last beat.", [w.heartbeat_age_s for w in workers])
    yield each("aeros_worker_rss_bytes", "Resident memory, shared pages included.", [w.rss_bytes for w in workers])
    yield each("aeros_worker_pss_bytes", "Its share of memory.", [w.pss_bytes for w in workers])


def _histogram(latency: LatencyHistogram) -> Metric:
    family = HistogramMetricFamily(
        "aeros_request_duration_seconds", "Time from a request's first byte to the end of its response."
    )
    buckets: list[tuple[str, float]] = []
    seen = 0
    for index, bound in enumerate(latency.bounds_s):
        seen += latency.counts[index]
        if index % _EVERY == 0:
            buckets.append((repr(bound), seen))
    family.add_metric([], [*buckets, ("+Inf", latency.count)], sum_value=latency.sum_s)
    return family


def _gauge(name: str, about: str, samples: Sequence[tuple[Sequence[str], float]], labels: Sequence[str] = ()) -> Metric:
    return _filled(GaugeMetricFamily(name, about, labels=labels), samples)


def _counter(
    name: str, about: str, samples: Sequence[tuple[Sequence[str], float]], labels: Sequence[str] = ()
) -> Metric:
    return _filled(CounterMetricFamily(name, about, labels=labels), samples)


def _filled(family: Any, samples: Sequence[tuple[Sequence[str], float]]) -> Metric:
    for label, value in samples:
        family.add_metric(list(label), value)
    metric: Metric = family
    return metric
