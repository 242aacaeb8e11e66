"""Status as a page of text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..core.clock import local_time, show_duration
from ..core.text import one_line
from ..status.records import ServerStatus, WorkerStatus
from ..status.requests import RequestInFlight

_HEAD = (
    "slot",
    "pid",
    "gen",
    "state",
    "up",
    "requests",
    "5xx",
    "in flight",
    "conns",
    "ws",
    "lag",
    "p99",
    "cpu",
    "pss",
    "restarts",
)


def render(status: ServerStatus) -> str:
    """Return `status` as a page for a terminal."""
    lines = [
        f"{status.state}: {status.ready_workers} of {status.target_workers} workers ready, "
        f"generation {status.generation}, pid {status.pid}, up {show_duration(status.uptime_s)}",
        f"listening on {', '.join(status.addresses)}",
    ]
    if load := status.describe_load():
        lines.append(load)
    lines += _changes(status)
    lines += _table(_HEAD, [_row(worker) for worker in status.workers])
    lines += _ill_slots(status)
    totals = status.totals
    answers = ", ".join(f"{count} {name}" for name, count in totals.responses.items() if count) or "none yet"
    lines.append(f"since start: {totals.requests} requests ({answers}), memory {_mebibytes(status.pss_bytes)}")
    return "\n".join(one_line(line) for line in lines)


def _changes(status: ServerStatus) -> Iterator[str]:
    """Yield what came of the last reload and the last upgrade."""
    last, upgrade = status.last_reload, status.last_upgrade
    if last is not None:
        served = f"generation {last.generation} in {show_duration(last.seconds)}"
        yield f"last reload {local_time(last.at)}: {served if last.ok else f'refused: {last.reason}'}"
    if upgrade is not None:
        versions = f"Aeros {upgrade.aeros_version}, Python {upgrade.python_version}"
        outcome = f"from pid {upgrade.replaced}; {versions}" if upgrade.ok else f"refused: {upgrade.reason}"
        yield f"last upgrade {local_time(upgrade.at)}: {outcome}"


def _row(worker: WorkerStatus) -> tuple[str, ...]:
    return (
        str(worker.slot),
        str(worker.pid),
        str(worker.generation),
        worker.state,
        show_duration(worker.uptime_s),
        str(worker.requests),
        str(worker.responses["5xx"]),
        str(worker.in_flight),
        str(worker.connections),
        str(worker.websockets),
        show_duration(worker.loop_lag_s),
        "-" if worker.latency_p99_s is None else show_duration(worker.latency_p99_s),
        "-" if worker.cpu_percent is None else f"{worker.cpu_percent:.0f}%",
        _mebibytes(worker.pss_bytes if worker.pss_bytes is not None else worker.rss_bytes),
        str(worker.restarts),
    )


def _ill_slots(status: ServerStatus) -> Iterator[str]:
    """Yield how the last worker of each slot ended that does not do well."""
    for slot in status.slots:
        last = slot.last_exit
        ill = slot.state in ("backoff", "failed")
        if last is not None and (ill or (slot.restarts and last.how != "exit code 0")):
            how = f"pid {last.pid} {last.how} ({last.why})"
            yield f"slot {slot.slot} {slot.state}, last exit {local_time(last.at)}: {how}"


def render_servers(found: Sequence[ServerStatus]) -> str:
    """Return the running servers as a page for a terminal."""
    if not found:
        return "no server of this user is running"
    head = ("pid", "name", "state", "workers", "up", "addresses", "directory")
    rows = [
        (
            str(one.pid),
            one.name or "-",
            one.state,
            f"{one.ready_workers}/{one.target_workers}",
            show_duration(one.uptime_s),
            ", ".join(one.addresses),
            one.directory,
        )
        for one in found
    ]
    return "\n".join(one_line(line) for line in _table(head, rows))


def render_requests(found: Sequence[RequestInFlight], requests: int, websockets: int) -> str:
    """Return what `server.requests()` found as a page for a terminal. requests, websockets: how many there are, shown
    or not."""
    if not found and not requests:
        return "no request is in flight"
    head = ("age", "slot", "pid", "stage", "client", "request id", "request")
    rows = [
        (
            show_duration(request.age_s),
            str(request.slot),
            str(request.pid),
            request.stage,
            request.client or "-",
            request.request_id or "-",
            f"{request.method} {request.path}{'…' if request.path_cut else ''}",
        )
        for request in found
    ]
    lines = _table(head, rows)
    shown = sum(one.websocket for one in found)
    for more, what in ((requests - len(found) + shown, "request"), (websockets - shown, "WebSocket")):
        if more > 0:
            lines.append(f"and {more} more {what}{'s' if more != 1 else ''}")
    return "\n".join(lines)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    rows = [tuple(one_line(cell) for cell in row) for row in rows]  # some of them a client's words, or a worker's
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    ]


def _mebibytes(size: int | None) -> str:
    return "-" if size is None else f"{size / 2**20:.1f}M"
