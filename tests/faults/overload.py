"""scripts/overload: what a server does when five times as much is asked of it as it can do.

    scripts/overload [--seconds 8] [--times 5] [--scenario NAME ...] [-- OPTIONS OF THE SERVER]

A server with one worker gets one processor, its clients the other. First its capacity is measured by clients that ask
one after the other, and the time of a request by a single one of them. Then clients of another kind send requests at
times of their own, however long the answers take: five times the capacity, for a while, then half of it. The time of a
request counts from when it was due, so a client that is late itself cannot hide it. Ends with 1 when goodput fell
below 90 % of the capacity, the p50 of accepted requests rose above twice that of the idle server, or the server was
not itself again within 1 s of the end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from ..helpers import proc
from ..helpers.serverproc import REPOSITORY, ServerProcess

APP = """
import asyncio, sys, time
from quart import request
from aeros import WebServer

app = WebServer(__name__)
pool = asyncio.Semaphore(10)

def burn(ms):
    until = time.thread_time() + ms / 1000
    while time.thread_time() < until:
        pass

@app.get("/cpu/<float:ms>")
async def cpu(ms):
    burn(ms)
    return "done"

@app.get("/mixed")
async def mixed():
    for _ in range(3):
        burn(1)
        await asyncio.sleep(0.01)
    burn(1)
    return "done"

@app.get("/pool")
async def pooled():
    async with pool:
        await asyncio.sleep(0.02)
    return "done"

app.start(sys.argv[1:])
"""


@dataclass(frozen=True)
class Scenario:
    """One kind of request. options: what the server is given for it. clients: enough of them to keep it busy."""

    what: str
    path: str
    options: tuple[str, ...]
    clients: int
    fresh: bool = False  # each request on a connection of its own


SHED = ("--queue-timeout", "100ms")
SCENARIOS = {
    "cpu10": Scenario("10 ms of CPU", "/cpu/10.0", SHED, 4),
    "cpu5": Scenario("5 ms of CPU", "/cpu/5.0", SHED, 4),
    "fresh": Scenario("10 ms of CPU, each on a new connection", "/cpu/10.0", SHED, 4, True),
    "cpu3": Scenario("3 ms of CPU", "/cpu/3.0", SHED, 4),
    "mixed": Scenario("4 ms of CPU in four parts, waits of 10 ms between", "/mixed", SHED, 30),
    "pool": Scenario("20 ms of waiting, for one of 10 connections", "/pool", (*SHED, "--max-concurrency", "10"), 20),
}


# The clients, in processes of their own


class Exchange(asyncio.Protocol):
    """One kept-alive connection with at most one request under way."""

    def __init__(self, load: OpenLoop | ClosedLoop) -> None:
        self.load = load
        self.due = 0.0
        self.status = 0
        self._left = -1
        self._head = b""
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def ask(self, due: float) -> None:
        self.due = due
        self.transport.write(self.load.request)

    def data_received(self, data: bytes) -> None:
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._head[:end].lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r")[0])
        if len(self._head) < end + 4 + length:
            return
        self._head = b""
        self.load.answered(self, int(head[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:
        self.load.lost(self)


class Load:
    """What one process asks and finds out: (when it was due, how long it took, status); 0 for none."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.port = order["port"]
        self.fresh: bool = order["fresh"]
        close = "Connection: close\r\n" if self.fresh else ""
        self.request = f"GET {order['path']} HTTP/1.1\r\nHost: a\r\n{close}\r\n".encode()
        self.found: list[tuple[float, float, int]] = []
        self.over = False

    async def connect(self) -> Exchange:
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_connection(lambda: Exchange(self), "127.0.0.1", self.port)  # type: ignore[arg-type]
        return protocol

    def note(self, exchange: Exchange, status: int) -> None:
        self.found.append((exchange.due, monotonic() - exchange.due, status))
        exchange.due = 0.0


class ClosedLoop(Load):
    """Clients that each ask again as soon as they have an answer."""

    async def run(self, clients: int, seconds: float) -> None:
        self._again: set[asyncio.Task[None]] = set()
        exchanges = [await self.connect() for _ in range(clients)]
        for exchange in exchanges:
            exchange.ask(monotonic())
        await asyncio.sleep(seconds)
        self.over = True

    def answered(self, exchange: Exchange, status: int) -> None:
        self.note(exchange, status)
        if not self.over and not self.fresh:
            exchange.ask(monotonic())

    def lost(self, exchange: Exchange) -> None:
        if exchange.due and not self.over:
            self.note(exchange, 0)
        if self.fresh and not self.over:
            self._again.add(asyncio.get_running_loop().create_task(self.ask_anew()))

    async def ask_anew(self) -> None:
        (await self.connect()).ask(monotonic())


class OpenLoop(Load):
    """Requests at random times, `rate` of them a second, over as many connections as that needs."""

    MOST = 3000

    def __init__(self, order: dict[str, Any]) -> None:
        super().__init__(order)
        self.idle: list[Exchange] = []
        self.connections = 0
        self.unsent = 0
        self._random = random.Random(order["seed"])
        self._connecting: set[asyncio.Task[None]] = set()

    async def run(self, stages: list[tuple[float, float]]) -> None:
        """stages: (requests per second, until this time)."""
        due = monotonic()
        for rate, until in stages:
            while due < until:
                due += self._random.expovariate(rate)
                # A millisecond is as fine as loops sleep; what has become due meanwhile is sent at once.
                if (wait := due - monotonic()) > 0.001:
                    await asyncio.sleep(wait)
                self.send(due)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3):
                while len(self.idle) < self.connections:  # noqa: ASYNC110 - answers come by themselves
                    await asyncio.sleep(0.01)

    def send(self, due: float) -> None:
        if self.idle:
            self.idle.pop().ask(due)
        elif self.connections < self.MOST:
            self.connections += 1
            task = asyncio.get_running_loop().create_task(self.send_new(due))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)
        else:
            self.unsent += 1

    async def send_new(self, due: float) -> None:
        (await self.connect()).ask(due)

    def answered(self, exchange: Exchange, status: int) -> None:
        self.note(exchange, status)
        if not self.fresh:
            self.idle.append(exchange)

    def lost(self, exchange: Exchange) -> None:
        self.connections -= 1
        if exchange in self.idle:
            self.idle.remove(exchange)
        elif exchange.due:
            self.note(exchange, 0)


def client(order: dict[str, Any]) -> None:
    """One client process: does what it is told and prints what it found."""
    import uvloop

    load: ClosedLoop | OpenLoop
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if "clients" in order:
            load = ClosedLoop(order)
            runner.run(load.run(order["clients"], order["seconds"]))
        else:
            load = OpenLoop(order)
            runner.run(load.run(order["stages"]))
    print(json.dumps({"found": load.found, "unsent": getattr(load, "unsent", 0)}))


def ask(orders: list[dict[str, Any]], cpu: int | None) -> tuple[list[tuple[float, float, int]], int]:
    """Have client processes do this; what all of them found, in the order it was due, and how much was not sent."""
    pin = None if cpu is None else lambda: os.sched_setaffinity(0, {cpu})
    answers: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:
        running = []
        for order in orders:
            # A file: what does not fit into a pipe would wait until the others are done.
            into = stack.enter_context(tempfile.TemporaryFile())
            argv = [sys.executable, "-m", "tests.faults.overload", "--client", json.dumps(order)]
            running.append((subprocess.Popen(argv, cwd=REPOSITORY, stdout=into, preexec_fn=pin), into))
        for process, into in running:
            assert process.wait() == 0
            into.seek(0)
            answers.append(json.load(into))
    found = sorted(tuple(record) for answer in answers for record in answer["found"])
    return found, sum(answer["unsent"] for answer in answers)


# The measurement


@dataclass(frozen=True)
class Result:
    """What one scenario came to. Times in seconds, rates per second. work: goodput per second of the worker's CPU, as
    a share of what it was at capacity; what other programs on the machine take does not count in it."""

    capacity: float
    alone_p50: float
    offered: float
    goodput: float
    p50: float
    p99: float
    refused_p50: float
    recovery: float
    others: dict[int, int]
    unsent: int
    work: float
    grown: int

    @property
    def problems(self) -> list[str]:
        found = []
        if max(self.goodput / self.capacity, self.work) < 0.9:
            found.append(f"goodput is {self.goodput / self.capacity:.0%} of the capacity")
        if self.p50 > 2 * self.alone_p50:
            found.append(
                f"the p50 of accepted requests is {self.p50 / self.alone_p50:.1f} times that of the idle server"
            )
        if self.recovery > 1:
            found.append(f"it took {self.recovery:.1f} s to recover")
        if self.others or self.unsent:
            found.append(f"answers that are neither 200 nor 503: {self.others}, not sent: {self.unsent}")
        return found

    def row(self, what: str) -> str:
        """One line of the table below HEAD."""
        cells = [
            what,
            f"{self.capacity:.0f}/s",
            f"{self.offered:.0f}/s",
            f"{self.goodput:.0f}/s, {self.goodput / self.capacity:.0%}",
            f"{self.work:.0%}",
            f"{self.alone_p50 * 1000:.1f} ms",
            f"{self.p50 * 1000:.1f} ms, {self.p50 / self.alone_p50:.1f} times",
            f"{self.p99 * 1000:.0f} ms",
            f"{self.refused_p50 * 1000:.0f} ms",
            f"{self.recovery:.2f} s",
            f"{self.grown / 1e6:+.0f} MB",
        ]
        return f"| {' | '.join(cells)} |"


COLUMNS = (
    *("A request takes", "capacity", "asked", "answered 200", "per CPU second", "p50 idle", "p50 of 200s", "p99"),
    *("p50 of 503s", "recovered after", "memory"),
)
HEAD = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|"


def measure(server: ServerProcess, scenario: Scenario, seconds: float, times: float, cpu: int | None) -> Result:
    """Ask a server that runs."""
    assert not isinstance(server.address, str)
    (pid,) = server.ready_pids()
    base = {"port": server.address[1], "path": scenario.path, "fresh": scenario.fresh}
    ask([{**base, "clients": scenario.clients, "seconds": 1.0}], cpu)
    alone, _ = ask([{**base, "clients": 1, "seconds": seconds / 4}], cpu)
    alone_p50 = statistics.median(took for _, took, _ in alone)
    ticks = proc.cpu_ticks(pid)
    busy, _ = ask([{**base, "clients": scenario.clients, "seconds": seconds / 2}], cpu)
    per_tick = sum(status == 200 for _, _, status in busy) / max(1, proc.cpu_ticks(pid) - ticks)
    capacity = rate(busy)
    memory = proc.rss_bytes(pid)
    begun = monotonic() + 1
    end = begun + seconds
    half = [(times * capacity / 2, end), (capacity / 4, end + 2)]
    ticks = proc.cpu_ticks(pid)
    found, unsent = ask([{**base, "seed": number, "stages": half} for number in range(2)], cpu)
    ticks = proc.cpu_ticks(pid) - ticks
    grown = proc.rss_bytes(pid) - memory
    good_in_all = sum(status == 200 for _, _, status in found)
    # The first second is the clients' and the connections' beginning.
    during = [record for record in found if begun <= record[0] < end]
    good = sorted(took for _, took, status in during if status == 200)
    refused = sorted(took for _, took, status in during if status == 503)
    finished = [due for due, took, status in found if status == 200 and begun <= due + took < end]
    return Result(
        capacity=capacity,
        alone_p50=alone_p50,
        offered=len(during) / seconds,
        goodput=len(finished) / seconds,
        p50=statistics.median(good),
        p99=good[len(good) * 99 // 100],
        refused_p50=statistics.median(refused) if refused else 0.0,
        recovery=recovery(found, end),
        others=dict(Counter(status for _, _, status in found if status not in (200, 503))),
        unsent=unsent,
        work=good_in_all / max(1, ticks) / per_tick,
        grown=grown,
    )


def recovery(found: list[tuple[float, float, int]], end: float) -> float:
    """Seconds from the end of the overload to a quarter of a second in which nobody, or one in twenty, got no 200."""
    step = 0.25
    for number in range(8):
        window = [status for due, _, status in found if 0 <= due - end - number * step < step]
        if window.count(200) >= 0.95 * len(window):
            return number * step
    return 9.9


def rate(found: list[tuple[float, float, int]]) -> float:
    ends = sorted(due + took for due, took, status in found if status == 200)
    return (len(ends) - 1) / (ends[-1] - ends[0])


def start(folder: Path, scenario: Scenario, options: list[str], cpu: int | None) -> ServerProcess:
    (folder / "app.py").write_text(APP)
    argv = [sys.executable, "app.py", "-b", "127.0.0.1:0", "-w", "1", *(options or scenario.options)]
    pin = None if cpu is None else lambda: os.sched_setaffinity(0, {cpu})
    return ServerProcess(argv, folder, preexec=pin).ready(1)


def main() -> int:
    if sys.argv[1:2] == ["--client"]:
        client(json.loads(sys.argv[2]))
        return 0
    assert __doc__ is not None
    parser = argparse.ArgumentParser(prog="scripts/overload", description=__doc__.splitlines()[0].partition(": ")[2])
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--times", type=float, default=5.0, help="of the capacity")
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="may be repeated")
    parser.add_argument("options", nargs="*", help="of the server, instead of the scenario's own")
    given = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))
    servers_cpu, clients_cpu = (cpus[0], cpus[1]) if len(cpus) > 1 else (None, None)
    failed = False
    print(HEAD, flush=True)
    for name in given.scenario or SCENARIOS:
        scenario = SCENARIOS[name]
        with tempfile.TemporaryDirectory(prefix="aeros-overload-") as folder:
            server = start(Path(folder), scenario, given.options, servers_cpu)
            try:
                result = measure(server, scenario, given.seconds, given.times, clients_cpu)
            finally:
                with contextlib.redirect_stdout(sys.stderr):
                    problems = server.close()
        print(result.row(scenario.what), flush=True)
        for problem in [*result.problems, *problems]:
            failed = True
            print(f"    {name}: {problem}", file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
