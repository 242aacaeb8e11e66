"""Slopes of what a server holds over what it has done; see scripts/leaks.

Each phase does one thing again and again. In between, descriptors, threads, zombies and memory of the supervisor, of
the zygotes and of the workers are counted; the slope is that of the straight line nearest to them (least squares),
over the second half: the first fills caches and free lists. (So 2,500 starts are the fewest that say something of
memory: each of the first 1,024 touches a cell of the scoreboard for the first time, 4 to 8 KiB. Reloads start workers
too: with two of them it takes 1,200 reloads; in the first 512 the supervisor's shared memory grows with each.)
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy

from tests.apps import source_of
from tests.faults import heap
from tests.helpers import proc
from tests.helpers.conditions import eventually
from tests.helpers.http import Connection
from tests.helpers.serverproc import ServerProcess
from tests.helpers.wsclient import open_websocket

SAMPLES = 24
#: The most that may come with each start, reload, request or WebSocket: bytes, and anything else by count. A slope is
#: only one when what it adds up to over the run is more than the floor, which is what the allocator's moods make.
MOST = {"starts": 256.0, "reloads": 4096.0, "requests": 2.0, "websockets": 16.0}
MOST_COUNTED = 0.001
FLOOR_BYTES = 1 << 20
FLOOR_COUNTED = 1.5


def starts(server: ServerProcess, times: int) -> None:
    """One worker more, one worker less."""
    handle = server.handle()
    for _ in range(times):
        handle.scale(3)
        handle.scale(2)


def reloads(server: ServerProcess, times: int) -> None:
    for _ in range(times):
        server.handle().reload(timeout=60)


def requests(server: ServerProcess, times: int) -> None:
    """On kept connections, a thousand each."""
    left = times
    while left > 0:
        with Connection(server.address) as connection:
            for _ in range(min(left, 1000)):
                assert connection.request("GET", "/").status == 200
        left -= 1000


def websockets(server: ServerProcess, times: int) -> None:
    for _ in range(times):
        with open_websocket(server.address) as client:
            client.send("x")
            client.recv(timeout=10)


PHASES: dict[str, tuple[Callable[[ServerProcess, int], None], int]] = {
    "starts": (starts, 10_000),
    "reloads": (reloads, 1_000),
    "requests": (requests, 1_000_000),
    "websockets": (websockets, 100_000),
}


def sample(server: ServerProcess) -> dict[str, float]:
    """Count everything, once the family is whole and nothing else of it is left, and stays so meanwhile."""

    def whole() -> dict[str, float] | None:
        before = server.complete(2, 60)
        figures = count(server)
        return figures if server.family == before else None

    found = eventually(whole, 60)
    assert found is not None
    return found


def count(server: ServerProcess) -> dict[str, float]:
    workers = {worker.pid for worker in server.workers("ready")}
    zygotes = server.family - workers - {server.pid}
    figures: dict[str, float] = {"zombies": len(proc.zombies(server.family | {server.pid}))}
    for role, pids in (("supervisor", {server.pid}), ("zygotes", zygotes), ("workers", workers)):
        figures[f"fds of {role}"] = sum(len(proc.open_fds(pid)) for pid in pids)
        figures[f"threads of {role}"] = sum(proc.thread_count(pid) for pid in pids)
        figures[f"PSS of {role}"] = proc.pss_bytes(pids)
        figures[f"RSS of {role}"] = sum(proc.rss_bytes(pid) for pid in pids)
    return figures


def slopes(done: list[int], samples: list[dict[str, float]]) -> Iterator[tuple[str, float, float]]:
    """For each figure: how much it grows with each thing done, and over all of the second half."""
    half = len(done) // 2
    for name in samples[0]:
        slope = float(numpy.polyfit(done[half:], [found[name] for found in samples[half:]], 1)[0])
        yield name, slope, slope * (done[-1] - done[half])


def run(server: ServerProcess, name: str, times: int) -> bool:
    """Return whether nothing grew."""
    act, good = PHASES[name][0], True
    step = max(1, times // SAMPLES)
    done, samples = [0], [sample(server)]
    begun = time.monotonic()
    while done[-1] < times:
        act(server, min(step, times - done[-1]))
        done.append(min(times, done[-1] + step))
        samples.append(sample(server))
    print(f"{times} {name} in {time.monotonic() - begun:.0f} s")
    for what, slope, gain in slopes(done, samples):
        memory = what.startswith(("PSS", "RSS"))
        # A new worker or zygote shares more or less with the others by chance; its own is what counts for growth.
        grows = slope > (MOST[name] if memory else MOST_COUNTED) and gain > (FLOOR_BYTES if memory else FLOOR_COUNTED)
        unit = "bytes" if memory else ""
        print(f"  {'GROWS ' if grows else ''}{what}: {slope:+.4g} {unit} each (last {samples[-1][what]:.0f})")
        good = good and not grows
    sys.stdout.flush()
    return good


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/leaks", description=__doc__)
    for name, (_, times) in PHASES.items():
        parser.add_argument(f"--{name}", type=int, default=times, metavar="N", help=f"{times} if not given, 0 for none")
    parser.add_argument("--heap", type=int, metavar="N", help="instead: N requests that hunt for corrupted memory")
    args = parser.parse_args()
    if args.heap:
        return 0 if heap.run(args.heap) else 1
    folder = Path(tempfile.mkdtemp(prefix="aeros-leaks-"))
    program = folder / "app.py"
    program.write_text(source_of("full"))
    argv = [sys.executable, str(program), "-w", "2", "-b", "127.0.0.1:0", "--drain-timeout", "5"]
    server = ServerProcess(argv, folder)
    try:
        server.ready(2)
        outcomes = [run(server, name, getattr(args, name)) for name in PHASES if getattr(args, name)]
        code = server.stop(signal.SIGTERM)
        eventually(lambda: not server.family, 10)
        print(f"exit {code}")
        return 0 if all(outcomes) and code == 0 else 1
    finally:
        server.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    os.environ.pop("AEROS_WORKERS", None)
    sys.exit(main())
