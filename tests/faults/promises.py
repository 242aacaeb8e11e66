"""What the promises come to in numbers: `python -m tests.faults.promises FILE [--times 1000]`, run by scripts/faults.

FILE gets {promise: [what was promised, what was found]} as JSON. Ends with 1 if one was broken.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.proc import switches
from tests.apps import source_of
from tests.helpers import proc
from tests.helpers.conditions import eventually
from tests.helpers.http import Connection
from tests.helpers.load import MIXED, Load
from tests.helpers.serverproc import ServerProcess

_WORKER_TIMEOUT_S = 2.0
_DRAIN_TIMEOUT_S = 3.0
_REPEATS = 5
#: Each slot may be killed this often for good and not count as one that crashes again and again.
_BETWEEN_KILLS_S = 0.5


@dataclass(frozen=True)
class Found:
    """What came of a promise."""

    figure: str
    kept: bool


@contextlib.contextmanager
def server_of(app: str, *arguments: str, env: Mapping[str, str] | None = None) -> Iterator[ServerProcess]:
    """A server with one of the tests' apps, gone afterwards, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="aeros-promises-") as folder:
        program = Path(folder) / "app.py"
        program.write_text(source_of(app))
        argv = [sys.executable, str(program), "-b", "127.0.0.1:0", *arguments]
        server = ServerProcess(argv, Path(folder), env=env)
        try:
            yield server
        finally:
            server.close()


def failed_of_reloads(times: int) -> Found:
    with server_of("full", "-w", "2") as server, Load(server.ready(2).address, MIXED) as tally:
        for _ in range(times):
            server.handle().reload(timeout=60)
        server.settled(times + 1)
    failures = tally.failures
    for failure in failures[:10]:
        print(failure)
    return Found(f"{len(failures)} of {len(tally.records)} requests failed in {times} reloads", not failures)


def failed_of_kills(times: int) -> Found:
    kills: list[float] = []
    with server_of("full", "-w", "4") as server, Load(server.ready(4).address, MIXED) as tally:
        for number in range(times):
            pids = {worker.slot: worker.pid for worker in server.workers("ready")}
            old = pids[number % 4]
            begun = time.monotonic()
            kills.append(begun)
            os.kill(old, signal.SIGKILL)
            eventually(lambda old=old: len(server.ready_pids() - {old}) == 4, 10, "four workers again")
            eventually(lambda begun=begun: time.monotonic() - begun > _BETWEEN_KILLS_S, 5)
    stray = [failure for failure in tally.failures if not any(map(failure.in_flight_at, kills))]
    for failure in stray[:10]:
        print(failure)
    failed = len(tally.failures)
    return Found(
        f"{failed} of {len(tally.records)} requests failed in {times} kills, {failed - len(stray)} of them in flight "
        "at the kill",
        not stray and failed <= len(MIXED) * times,
    )


def detection(stop: Callable[[ServerProcess, int], None]) -> Found:
    """How long until a worker that does nothing any more is killed."""
    took = []
    with server_of("full", "-w", "2", "--worker-timeout", f"{_WORKER_TIMEOUT_S:g}s") as server:
        for _ in range(_REPEATS):
            server.complete(2)
            pid = min(server.ready_pids())
            begun = time.monotonic()
            stop(server, pid)
            eventually(lambda pid=pid: not proc.alive(pid), 30, "the worker killed", pause_s=0.005)
            took.append(time.monotonic() - begun)
    return Found(f"killed {_range(took)} after it", max(took) <= _WORKER_TIMEOUT_S + 1)


def _stop(server: ServerProcess, pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)


def _block(server: ServerProcess, pid: int) -> None:
    """Block the loop of that worker, on the first connection that it gets."""
    while True:
        with Connection(server.address) as connection:
            if connection.request("GET", "/").json()["pid"] == pid:
                connection.send(connection.head("GET", "/block?s=60"))
                return


def idle_orphans() -> Found:
    return _orphans("", 1.0)


def busy_orphans() -> Found:
    return _orphans("/slow?s=60", _DRAIN_TIMEOUT_S + 1)


def _orphans(path: str, most_s: float) -> Found:
    """How long processes go on without a supervisor, with a request for `path` under way if there is one."""
    took = []
    for _ in range(_REPEATS):
        with server_of("full", "-w", "4", "--drain-timeout", f"{_DRAIN_TIMEOUT_S:g}s") as server:
            server.ready(4)
            with Connection(server.address) as connection:
                if path:
                    connection.send(connection.head("GET", path))
                    eventually(lambda: any(worker.in_flight for worker in server.workers()), 5)
                begun = time.monotonic()
                server.send_signal(signal.SIGKILL)
                eventually(lambda: not server.family, 60, "all gone", pause_s=0.005)
                took.append(time.monotonic() - begun)
    return Found(f"the last one ended {_range(took)} after it", max(took) <= most_s)


def starts_in_a_crash_loop(seconds: float = 120.0) -> Found:
    """Every worker dies right after it is ready."""
    minutes = []
    with server_of("dying", "-w", "2", env={"TESTAPP_SICK": "sick", "TESTAPP_DIES_AFTER": "0.01"}) as server:
        server.ready(2)
        (server.cwd / "sick").touch()
        begun, before = time.monotonic(), _starts(server)
        proc.kill_all(server.ready_pids())
        for minute in range(1, int(seconds // 60) + 1):
            eventually(lambda minute=minute: time.monotonic() - begun > minute * 60, 90, pause_s=0.1)
            now = _starts(server)
            minutes.append(now - before)
            before = now
    figure = ", then ".join(str(count) for count in minutes)
    return Found(f"{figure} starts a minute, with two workers", minutes[0] <= 60 and minutes[-1] <= 20)


def _starts(server: ServerProcess) -> int:
    return sum(slot.restarts for slot in server.status().slots)


def idle_wake_ups(seconds: float = 30.0) -> Found:
    with server_of("full", "-w", "4") as server:
        server.complete(4)
        begun, before = time.monotonic(), switches(server.pid)
        eventually(lambda: time.monotonic() - begun > seconds, seconds + 10, pause_s=1.0)
        # One a second that begins with the interval and one that ends it are one second apart.
        rate = (switches(server.pid) - before - 1) / (time.monotonic() - begun)
    return Found(f"{rate:.2f} a second, with four workers", rate <= 1.0)


def _range(seconds: list[float]) -> str:
    return (
        f"{min(seconds):.2f} to {max(seconds):.2f} s (median {statistics.median(seconds):.2f} s, {len(seconds)} times)"
    )


def promises(times: int) -> dict[str, tuple[str, Callable[[], Found]]]:
    """What is promised, and what finds out."""
    timeout, drain = f"--worker-timeout {_WORKER_TIMEOUT_S:g}s", f"--drain-timeout {_DRAIN_TIMEOUT_S:g}s"
    return {
        "Idle wake-ups of the supervisor": ("at most 1 a second", idle_wake_ups),
        f"SIGSTOP of a worker, {timeout}": (f"within {_WORKER_TIMEOUT_S + 1:g} s", lambda: detection(_stop)),
        f"A blocked loop, {timeout}": (f"within {_WORKER_TIMEOUT_S + 1:g} s", lambda: detection(_block)),
        "SIGKILL of the supervisor, idle": ("within 1 s", idle_orphans),
        f"SIGKILL of the supervisor, a request that does not end, {drain}": (
            f"within {_DRAIN_TIMEOUT_S + 1:g} s",
            busy_orphans,
        ),
        "A crash loop": ("at most 60 starts in the first minute, 20 later", starts_in_a_crash_loop),
        "Kills of workers under load": ("only what was in flight in the killed worker", lambda: failed_of_kills(times)),
        "Reloads under load": ("no failed request", lambda: failed_of_reloads(times)),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.promises", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--times", type=int, default=1000, help="kills and reloads (1000)")
    options = parser.parse_args()
    results: dict[str, list[str]] = {}
    broken = 0
    for name, (promised, find) in promises(options.times).items():
        with contextlib.redirect_stdout(sys.stderr):  # what servers wrote
            found = find()
        broken += not found.kept
        results[name] = [promised, found.figure if found.kept else f"**{found.figure}**"]
        print(f"{name}: {found.figure}{'' if found.kept else '  BROKEN'}", flush=True)
        options.file.write_text(json.dumps(results, indent=1))
    return 1 if broken else 0


if __name__ == "__main__":
    os.environ.pop("AEROS_WORKERS", None)
    sys.exit(main())
