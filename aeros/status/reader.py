"""The status of a server, read from its scoreboard and from what the system knows of each process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ..core.shared.scoreboard import (
    HEARTBEAT_EVERY_S,
    HISTOGRAM_BUCKETS,
    RESPONSE_CLASSES,
    Cell,
    CellFigures,
    Scoreboard,
    bucket_limit,
)
from .latency import LatencyHistogram
from .records import AcceptQueue, LastExit, Reloaded, ServerStatus, SlotStatus, Totals, Upgraded, WorkerStatus
from .requests import IN_STATUS, RequestInFlight, in_flight, in_order
from .usage import pss_bytes, usage

#: The kernel walks every page of a process for its share of memory, which takes longer than all the rest of a status.
_PSS_EVERY_S = 0.5


class StatusReader:
    """Reads status from a scoreboard; remembers CPU times between two readings. Not thread-safe."""

    def __init__(self, scoreboard: Scoreboard) -> None:
        self._scoreboard = scoreboard
        self._cpu: dict[tuple[int, float], tuple[float, float]] = {}
        self._pss: dict[tuple[int, float], tuple[int | None, float]] = {}

    def read(self) -> ServerStatus:
        """Return the status now. Costs the server nothing: no process is asked."""
        summary = self._scoreboard.read_summary()
        now, now_mono = time.time(), time.monotonic()
        readings = self._readings(summary)
        slots = {record["slot"]: _slot(record, readings) for record in summary.get("slots", [])}
        workers = tuple(
            self._worker(record, figures, cell, slots.get(record["slot"]), now, now_mono)
            for record, cell, figures in readings
        )
        last, upgrade = summary.get("last_reload"), summary.get("last_upgrade")
        return ServerStatus(
            pid=summary.get("pid", 0),
            generation=summary.get("generation", 0),
            state=summary.get("state", "starting"),
            addresses=tuple(summary.get("addresses", ())),
            started_at=summary.get("started_at", now),
            uptime_s=round(now - summary.get("started_at", now), 3),
            target_workers=summary.get("target_workers", 0),
            ready_workers=sum(record["state"] == "ready" and record["accepting"] for record, _, _ in readings),
            control=summary.get("control", ""),
            admin=summary.get("admin", ""),
            accept_queue=tuple(
                AcceptQueue(address, *(self._scoreboard.read_queue(index) or (None, None)))
                for index, address in enumerate(summary.get("addresses", ()))
            ),
            last_reload=Reloaded(**last) if last else None,
            totals=_totals(summary, [figures for _, _, figures in readings]),
            workers=workers,
            slots=tuple(slots[index] for index in sorted(slots)),
            rss_bytes=_sum(worker.rss_bytes for worker in workers),
            pss_bytes=_sum(worker.pss_bytes for worker in workers),
            last_upgrade=Upgraded(**upgrade) if upgrade else None,
            load=summary.get("load", "fork"),
            threads=tuple(summary.get("threads", ())),
            name=summary.get("name", ""),
            directory=summary.get("directory", ""),
        )

    def requests(self) -> tuple[RequestInFlight, ...]:
        """Return the requests in flight in all workers, oldest first, then the WebSockets; of one worker some fifty
        of each."""
        readings, now = self._readings(self._scoreboard.read_summary()), time.monotonic()
        found = [
            request
            for record, cell, figures in readings
            for request in in_flight(record, figures, cell.read_requests(), cell.read_websockets(), now)
        ]
        return tuple(in_order(found))

    def _readings(self, summary: dict[str, Any]) -> list[tuple[dict[str, Any], Cell, CellFigures]]:
        cells = [(record, self._scoreboard.cell(record["cell"])) for record in summary.get("workers", [])]
        cells.sort(key=lambda item: (item[0]["slot"], item[0]["generation"]))
        return [(record, cell, cell.read()) for record, cell in cells]

    def _worker(
        self,
        record: dict[str, Any],
        figures: CellFigures,
        cell: Cell,
        slot: SlotStatus | None,
        now: float,
        now_mono: float,
    ) -> WorkerStatus:
        rss, pss, cpu = self._measure(record["pid"])
        responses = dict(zip(RESPONSE_CLASSES, figures.responses, strict=True))
        age = max(0.0, now_mono - figures.heartbeat) if figures.heartbeat else 0.0
        # A loop that is blocked cannot say so; a heartbeat that is overdue does.
        overdue = age - HEARTBEAT_EVERY_S if record["state"] in ("ready", "draining") else 0.0
        blocked = overdue > HEARTBEAT_EVERY_S / 2
        return WorkerStatus(
            slot=record["slot"],
            pid=record["pid"],
            generation=record["generation"],
            state=record["state"],
            started_at=record["started_at"],
            uptime_s=round(now - record["started_at"], 3),
            requests=figures.requests,
            responses=responses,
            in_flight=figures.in_flight,
            requests_in_flight=in_flight(
                record, figures, cell.read_requests()[:IN_STATUS], cell.read_websockets()[:IN_STATUS], now_mono
            )[:IN_STATUS],
            connections=figures.connections,
            websockets=figures.websockets,
            loop_lag_s=round(overdue, 3) if blocked else figures.lag_s,
            loop_lag_max_s=max(figures.lag_max_s, round(overdue, 3)) if blocked else figures.lag_max_s,
            loop_busy=1.0 if blocked else round(figures.loop_busy, 4),
            heartbeat_age_s=round(age, 3),
            bytes_in=figures.bytes_in,
            bytes_out=figures.bytes_out,
            latency_p50_s=percentile(figures.histogram, 0.50),
            latency_p99_s=percentile(figures.histogram, 0.99),
            latency=LatencyHistogram.of(figures.histogram, figures.seconds_sum),
            rss_bytes=rss,
            pss_bytes=pss,
            cpu_percent=cpu,
            restarts=slot.restarts if slot else 0,
            last_exit=slot.last_exit if slot else None,
        )

    def _measure(self, pid: int) -> tuple[int | None, int | None, float | None]:
        """Return (rss, pss, cpu percent) of a process; None for what is not to be had."""
        used = usage(pid)
        if used is None:
            return None, None, None
        born, at = used.began, time.time()
        before_used, before_at = self._cpu.get((pid, born), (0.0, at - used.age_s))
        self._cpu[pid, born] = (used.cpu_s, at)
        for key in [key for key in self._cpu if key[0] == pid and key[1] != born]:
            del self._cpu[key]
        cpu = round(100.0 * max(0.0, used.cpu_s - before_used) / max(0.001, at - before_at), 1)
        pss, measured_at = self._pss.get((pid, born), (None, 0.0))
        if at - measured_at > _PSS_EVERY_S or at < measured_at:
            pss = pss_bytes(pid)
            self._pss = {key: value for key, value in self._pss.items() if at - value[1] < 60}
            self._pss[pid, born] = pss, at
        return used.rss_bytes, pss, cpu


def percentile(histogram: Sequence[int], share: float) -> float | None:
    """Return a time in seconds that `share` of the counted requests did not exceed, or None without any.

    The upper edge of the bucket it falls in: at most 25 % too high, never too low.
    """
    total = sum(histogram)
    if not total:
        return None
    seen = 0
    for bucket, count in enumerate(histogram):
        seen += count
        if seen >= share * total:
            return bucket_limit(bucket) / 1e6
    return None


def _slot(record: dict[str, Any], readings: Sequence[tuple[dict[str, Any], Cell, CellFigures]]) -> SlotStatus:
    last = record["last_exit"]
    live = [figures for worker, _, figures in readings if worker["slot"] == record["slot"]]
    requests, failed = record.get("requests", (0, 0))
    return SlotStatus(
        record["slot"],
        record["state"],
        record["restarts"],
        record["retry_at"],
        requests + sum(figures.requests for figures in live),
        failed + sum(figures.responses[4] for figures in live),
        LastExit(**last) if last else None,
    )


def _totals(summary: dict[str, Any], live: list[CellFigures]) -> Totals:
    ended = summary.get("totals") or {}
    responses = [
        count + sum(figures.responses[index] for figures in live)
        for index, count in enumerate(ended.get("responses", [0] * len(RESPONSE_CLASSES)))
    ]
    histogram = [
        count + sum(figures.histogram[index] for figures in live)
        for index, count in enumerate(ended.get("histogram", [0] * HISTOGRAM_BUCKETS))
    ]
    return Totals(
        requests=ended.get("requests", 0) + sum(figures.requests for figures in live),
        responses=dict(zip(RESPONSE_CLASSES, responses, strict=True)),
        connections=ended.get("connections", 0) + sum(figures.connections_total for figures in live),
        websockets=ended.get("websockets", 0) + sum(figures.websockets_total for figures in live),
        handshakes_failed=ended.get("handshakes_failed", 0) + sum(figures.handshakes_failed for figures in live),
        http3_failures=ended.get("http3_failures", 0) + sum(figures.http3_failures for figures in live),
        bytes_in=ended.get("bytes_in", 0) + sum(figures.bytes_in for figures in live),
        bytes_out=ended.get("bytes_out", 0) + sum(figures.bytes_out for figures in live),
        latency_p50_s=percentile(histogram, 0.50),
        latency_p95_s=percentile(histogram, 0.95),
        latency_p99_s=percentile(histogram, 0.99),
        latency=LatencyHistogram.of(
            histogram, ended.get("seconds_sum", 0.0) + sum(figures.seconds_sum for figures in live)
        ),
        worker_exits=dict(summary.get("exits", {})),
        reloads=dict(summary.get("reloads", {"ok": 0, "failed": 0})),
    )


def _sum(values: Any) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
