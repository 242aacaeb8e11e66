#!/usr/bin/env python
"""What it costs a worker that somebody reads the server's status 100 times a second.

    python scripts/bench_status.py [--rounds 20] [--seconds 2] [--per-second 100]

Needs wrk on the path. One worker on the first CPU; wrk and the reader on the second. Rounds with and without the reader
take turns, so that a neighbour's load falls on both alike: compare the ratios, not the rates.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from bench_lane import measure  # noqa: E402

from aeros import WebServer  # noqa: E402
from aeros.server import Server  # noqa: E402

app = WebServer(__name__)


@app.route("/")
async def home() -> dict[str, str]:
    return {"response": "ok"}


class Reader(threading.Thread):
    """Reads status and requests in flight so many times a second, until told to stop."""

    def __init__(self, server: Server, per_second: float) -> None:
        super().__init__(daemon=True)
        self.server, self.pause_s = server, 1 / per_second
        self.over = threading.Event()
        self.reads = 0
        self.seconds = 0.0

    def run(self) -> None:
        due = time.monotonic()
        while not self.over.is_set():
            began = time.perf_counter()
            self.server.status()
            self.server.requests()
            self.seconds += time.perf_counter() - began
            self.reads += 1
            due += self.pause_s
            self.over.wait(max(0.0, due - time.monotonic()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--per-second", type=float, default=100)
    args = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed")
    cpus = sorted(os.sched_getaffinity(0))
    os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="aeros-bench-")
    pairs: list[tuple[float, float]] = []
    reads = spent = 0.0
    with app.start("-w 1 --port 0 --error-log none", block=False) as server:
        (worker,) = server.status().workers
        os.sched_setaffinity(worker.pid, {cpus[0]})
        os.sched_setaffinity(0, {cpus[-1]})
        port = int(server.url.rpartition(":")[2])
        measure(port, worker.pid, 1, "/", [])
        for number in range(args.rounds):
            costs = {}
            for reading in (True, False) if number % 2 else (False, True):
                reader = Reader(server, args.per_second)
                if reading:
                    reader.start()
                costs[reading] = measure(port, worker.pid, args.seconds, "/", [])
                reader.over.set()
                if reading:
                    reader.join()
                    reads, spent = reads + reader.reads, spent + reader.seconds
            pairs.append((costs[True][0] / costs[False][0], costs[True][1] / costs[False][1]))
    cpu, rate = (statistics.median(pair[index] for pair in pairs) for index in (0, 1))
    print(f"{reads:.0f} reads, {spent / reads * 1e3:.2f} ms each, in {args.rounds} pairs of {args.seconds} s")
    print(f"CPU of the worker per request, with the reader / without: {cpu:.4f}")
    print(f"requests per second,           with the reader / without: {rate:.4f}")


if __name__ == "__main__":
    main()
