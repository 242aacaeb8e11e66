"""Status as frozen records; `reader` fills them."""

from __future__ import annotations

from typing import Any

from ..core.record import as_dict, field_names, record
from .latency import LatencyHistogram
from .requests import RequestInFlight


@record
class LastExit:
    """How the previous worker of a slot ended.

    how: "exit code 1", "SIGKILL", … why: "died", "reload", a limit, or what the worker said. at: epoch seconds.
    """

    how: str
    why: str
    at: float
    pid: int
    generation: int


@record
class Reloaded:
    """The outcome of the last reload. ok: the new generation serves. at: epoch seconds, seconds: how long it took.

    how: "rerun" (the program was run again: new code) or "refork" (new workers of the same code). reason: why it was
    refused, or why the code is the same.
    """

    ok: bool
    generation: int
    how: str
    seconds: float
    at: float
    reason: str = ""
    traceback: str = ""


@record
class Upgraded:
    """The outcome of an upgrade. ok: the supervisor `pid` is the server instead of `replaced`. at: epoch seconds,
    seconds: how long it took. aeros_version, python_version: of the new one. reason: why it was refused."""

    ok: bool
    pid: int
    replaced: int
    seconds: float
    at: float
    aeros_version: str = ""
    python_version: str = ""
    reason: str = ""
    traceback: str = ""

    @classmethod
    def from_message(cls, record: dict[str, Any]) -> Upgraded:
        """Return what another version of Aeros may have written: what it does not know of has its default, what we do
        not know of is left out."""
        known = {name: value for name, value in record.items() if name in field_names(cls)}
        return cls(**{"ok": True, "pid": 0, "replaced": 0, "seconds": 0.0, "at": 0.0, **known})


@record
class WorkerStatus:
    """One worker process.

    state: starting, ready, draining or killing. started_at: epoch seconds. in_flight, connections, websockets: open
    now; requests_in_flight: the oldest eight of the requests; where they are fewer, then
    the oldest WebSockets. requests, responses, bytes: since this worker started;
    responses by class ("2xx", …; "none": the client left or the worker died first). loop_lag_s: how late the event
    loop's timer last fired, or is by now; loop_lag_max_s: ever. loop_busy: share of the last half second in which the
    loop had something to do, 0 to 1. pss_bytes: its share of memory, pages shared with others divided by their number;
    None where the system does not tell (not Linux, or another user's). cpu_percent: of one core, since the previous
    status() of this handle (the first time: since the worker started). restarts: how often the slot lost a worker
    unexpectedly.
    """

    slot: int
    pid: int
    generation: int
    state: str
    started_at: float
    uptime_s: float
    requests: int
    responses: dict[str, int]
    in_flight: int
    requests_in_flight: tuple[RequestInFlight, ...]
    connections: int
    websockets: int
    loop_lag_s: float
    loop_lag_max_s: float
    loop_busy: float
    heartbeat_age_s: float
    bytes_in: int
    bytes_out: int
    latency_p50_s: float | None
    latency_p99_s: float | None
    latency: LatencyHistogram
    rss_bytes: int | None
    pss_bytes: int | None
    cpu_percent: float | None
    restarts: int
    last_exit: LastExit | None

    def to_dict(self) -> dict[str, Any]:
        """Return the same as plain dicts, lists, numbers and strings."""
        return as_dict(self)


@record
class SlotStatus:
    """A numbered place, also when no worker is in it. state: empty, filled, backoff or failed.

    retry_at: epoch seconds of the next attempt to fill it, None when none is planned. requests, responses_5xx: of all
    workers it ever had.
    """

    slot: int
    state: str
    restarts: int
    retry_at: float | None
    requests: int
    responses_5xx: int
    last_exit: LastExit | None


@record
class Totals:
    """Since the server started, over all workers that ever were, through upgrades too. Never goes down.

    handshakes_failed: of TLS, that a client had begun.
    http3_failures: inside the server; each ended a connection, or held up a socket for a moment.
    """

    requests: int
    responses: dict[str, int]
    connections: int
    websockets: int
    handshakes_failed: int
    http3_failures: int
    bytes_in: int
    bytes_out: int
    latency_p50_s: float | None
    latency_p95_s: float | None
    latency_p99_s: float | None
    latency: LatencyHistogram
    worker_exits: dict[str, int]
    reloads: dict[str, int]


@record
class AcceptQueue:
    """How many connections the kernel holds at one address until a worker accepts them, up to a second ago.

    limit: how many it may hold before clients are turned away: --backlog, or the system's somaxconn where that is
    less. length and limit are None where the system does not tell (not Linux, a Unix socket, HTTP/3).
    """

    address: str
    length: int | None
    limit: int | None


@record
class ServerStatus:
    """The whole server at one moment.

    state: starting, ready, reloading, degraded (fewer than target_workers serve), failed (no worker can be kept
    up), draining (still accepting, for the drain delay before a stop), stopping, or stopped. admin: where the
    dashboard is, "" without. accept_queue: one per address, in the order of addresses. last_reload: None before the
    first. last_upgrade: the one this server came by, or one that was refused since. rss_bytes and pss_bytes: of all
    workers. load: how workers get the app, fork or worker (each loads it itself). threads: the libraries whose own
    threads were alive when the app was loaded, with their number; forked workers do not have them. name: of
    the app, "" with --proctitle off. directory: where the server was started.
    """

    pid: int
    generation: int
    state: str
    addresses: tuple[str, ...]
    started_at: float
    uptime_s: float
    target_workers: int
    ready_workers: int
    control: str
    admin: str
    accept_queue: tuple[AcceptQueue, ...]
    last_reload: Reloaded | None
    totals: Totals
    workers: tuple[WorkerStatus, ...]
    slots: tuple[SlotStatus, ...]
    rss_bytes: int | None
    pss_bytes: int | None
    last_upgrade: Upgraded | None = None
    load: str = "fork"
    threads: tuple[str, ...] = ()
    name: str = ""
    directory: str = ""

    def describe_load(self) -> str:
        """Return in words how workers get the app, "" where it is the usual way and nothing speaks against it."""
        names = ", ".join(self.threads)
        if self.load == "worker":
            return "each worker loads the app itself" + (f": {names} would hang in forked ones" if names else "")
        return f"workers are forked, and may hang in {names}" if names else ""

    def to_dict(self) -> dict[str, Any]:
        """Return the same as plain dicts, lists, numbers and strings, ready for JSON."""
        return as_dict(self)
