"""The screen of `aeros top`: one status, rendered for a terminal of some width."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..core.clock import local_time, show_duration
from ..core.record import mutable, record
from ..core.text import one_line, several_lines
from ..status.records import ServerStatus, WorkerStatus
from ..status.requests import in_order
from .rates import Rates

_COLOURS = {"ready": "green", "starting": "yellow", "draining": "cyan", "killing": "red"}
_STATE_COLOURS = {"ready": "green", "failed": "bold red", "degraded": "yellow", "reloading": "cyan"}
#: What a loop may lag, and an in-flight request may last, without being coloured.
_LAG_WARNS_S = 0.25
_AGE_WARNS_S = 5.0
#: Heartbeats come twice a second.
_STUCK_S = 2.0
_REQUESTS_SHOWN = 8
#: Lines that are kept for what stands below the workers.
_BELOW = 8


@record
class _Column:
    """width: the terminal must be at least so wide for it to be shown."""

    title: str
    width: int
    cell: Callable[[WorkerStatus, Rates], str | Text]
    left: bool = False


def _time(seconds: float | None) -> str:
    if seconds is not None and seconds < 0.01:
        return f"{seconds * 1000:.1f} ms"
    return "-" if seconds is None else show_duration(seconds)


def _lag(worker: WorkerStatus, _: Rates) -> Text:
    return Text(show_duration(worker.loop_lag_s), "bold red" if worker.loop_lag_s > _LAG_WARNS_S else "")


def _is_stuck(worker: WorkerStatus) -> bool:
    return worker.state == "ready" and worker.heartbeat_age_s > _STUCK_S


def _state(worker: WorkerStatus, _: Rates) -> Text:
    if _is_stuck(worker):
        return Text("stuck", "bold red")
    return Text(one_line(worker.state), _COLOURS.get(worker.state, ""))


def _memory(worker: WorkerStatus, _: Rates) -> str:
    size = worker.pss_bytes if worker.pss_bytes is not None else worker.rss_bytes
    return "-" if size is None else f"{size / 2**20:.1f}M"


_COLUMNS = (
    _Column("slot", 0, lambda worker, _: str(worker.slot)),
    _Column("pid", 50, lambda worker, _: str(worker.pid)),
    _Column("gen", 64, lambda worker, _: str(worker.generation)),
    _Column("state", 0, _state, left=True),
    _Column("up", 80, lambda worker, _: show_duration(worker.uptime_s)),
    _Column("req/s", 0, lambda _, rate: f"{rate.requests_per_s:.0f}"),
    _Column("busy", 0, lambda worker, _: str(worker.in_flight)),
    _Column("p50", 92, lambda _, rate: _time(rate.latency_p50_s)),
    _Column("p95", 104, lambda _, rate: _time(rate.latency_p95_s)),
    _Column("p99", 36, lambda _, rate: _time(rate.latency_p99_s)),
    _Column("5xx", 56, lambda worker, _: Text(str(worker.responses["5xx"]), "red" if worker.responses["5xx"] else "")),
    _Column("lag", 46, _lag),
    _Column("loop", 98, lambda worker, _: f"{100 * worker.loop_busy:.0f}%"),
    _Column("cpu", 64, lambda worker, _: "-" if worker.cpu_percent is None else f"{worker.cpu_percent:.0f}%"),
    _Column("pss", 72, _memory),
    _Column("conns", 108, lambda worker, _: str(worker.connections)),
    _Column("ws", 108, lambda worker, _: str(worker.websockets)),
    _Column("restarts", 92, lambda worker, _: str(worker.restarts)),
)


@mutable
class View:
    """What is on the screen: the last status, and what the user chose to see."""

    status: ServerStatus
    whole: Rates
    each: dict[int, Rates]
    selected: int = 0
    #: Shown in place of the slow requests: a title and lines.
    detail: tuple[str, str] | None = None
    message: str = ""

    def render(self, width: int, help_line: str = "", height: int = 0) -> RenderableType:
        """Return the screen for a terminal of `width` columns and `height` lines; 0: as many as it takes."""
        head = list(self._head())
        room = height - sum(-(-max(1, len(line)) // width) for line in head) - _BELOW if height else 0
        room = 3 if self.detail is not None else max(room, 3)
        parts: list[RenderableType] = [*head, Text(), self._workers(width, room if height else 0)]
        parts += [Text(one_line(line), "yellow") for line in self._ill_slots()]
        parts.append(Text())
        if self.detail is not None:
            title, text = self.detail
            parts += [Text(one_line(title), "bold"), Text(several_lines(text))]
        else:
            parts += self._requests()
        if self.message:
            parts += [Text(), Text(several_lines(self.message), "bold")]
        if help_line:
            parts.append(Text(help_line, "dim"))
        return Group(*parts)

    def _head(self) -> Iterator[Text]:
        status, whole = self.status, self.whole
        name = one_line(status.name or "a server")
        first = Text.assemble((name, "bold"), "  ", (one_line(status.state), _STATE_COLOURS.get(status.state, "")))
        stuck = sum(map(_is_stuck, status.workers))
        first.append(f"  {status.ready_workers} of {status.target_workers} workers ready")
        if stuck:
            first.append(f", {stuck} of them stuck", "bold red")
        first.append(f", generation {status.generation}, pid {status.pid}, up {show_duration(status.uptime_s)}")
        yield first
        in_flight = sum(worker.in_flight for worker in status.workers)
        yield Text.assemble(
            (f"{whole.requests_per_s:.0f} requests/s", "bold"),
            f"  p50 {_time(whole.latency_p50_s)}  p95 {_time(whole.latency_p95_s)}  p99 {_time(whole.latency_p99_s)}  ",
            (f"{whole.errors_per_s:.1f} 5xx/s", "red" if whole.errors_per_s else ""),
            f"  {in_flight} in flight",
        )
        waits = [
            f"{queue.address} {'' if queue.length is None else f'({queue.length} of {queue.limit} waiting)'}".rstrip()
            for queue in status.accept_queue
        ]
        yield Text(f"{status.totals.requests} requests since start; listening on {one_line(', '.join(waits))}")
        if load := status.describe_load():
            yield Text(one_line(load), "" if status.load == "worker" else "red")
        last = status.last_reload
        if last is not None:
            outcome = f"generation {last.generation} in {show_duration(last.seconds)}"
            yield Text(
                f"last reload {local_time(last.at)}: {outcome if last.ok else one_line(f'refused: {last.reason}')}",
                "" if last.ok else "red",
            )

    def _workers(self, width: int, most: int) -> Table:
        """most: so many of them, around the selected one; 0: all."""
        columns = [column for column in _COLUMNS if width >= column.width]
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column.title, justify="left" if column.left else "right", no_wrap=True)
        workers = self.status.workers
        begin = max(0, min(self.selected - most // 2, len(workers) - most)) if most else 0
        for index, worker in list(enumerate(workers))[begin : begin + most if most else None]:
            rate = self.each[worker.pid]
            cells = [column.cell(worker, rate) for column in columns]
            table.add_row(*cells, style="reverse" if index == self.selected else "")
        return table

    def _ill_slots(self) -> Iterator[str]:
        for slot in self.status.slots:
            if slot.state in ("backoff", "failed") and slot.last_exit is not None:
                how = slot.last_exit
                ended = f"pid {how.pid} {how.how} ({how.why})"
                yield f"slot {slot.slot} {slot.state} after {slot.restarts} restarts: {ended}"

    def _requests(self) -> Iterator[Text]:
        requests = in_order(request for worker in self.status.workers for request in worker.requests_in_flight)
        requests = requests[:_REQUESTS_SHOWN]
        if requests:
            kinds = {"WebSockets" if request.websocket else "requests in flight" for request in requests}
            yield Text(f"oldest {', then '.join(sorted(kinds, reverse=True))}", "bold")
        for request in requests:
            style = "red" if request.age_s >= _AGE_WARNS_S and not request.websocket else ""
            yield Text(one_line(f"slot {request.slot}  {request}"), style, no_wrap=True, overflow="crop")

    @property
    def worker(self) -> WorkerStatus | None:
        """The selected worker."""
        workers = self.status.workers
        return workers[min(self.selected, len(workers) - 1)] if workers else None
