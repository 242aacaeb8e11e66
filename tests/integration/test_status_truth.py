"""Acceptance 10: what status() says is what happened, across kills and reloads, wherever one asks."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.apps import deploy
from tests.conftest import Serve
from tests.helpers import proc
from tests.helpers.conditions import Watch, eventually
from tests.helpers.http import Connection, get
from tests.helpers.load import MIXED, Load
from tests.helpers.serverproc import ServerProcess
from tests.helpers.wsclient import open_websocket


def counted(server: ServerProcess) -> int:
    return server.status().totals.requests


def test_requests_counted_are_requests_made(serve: Serve, tmp_path: Path) -> None:
    """Exact while nothing is killed: reloads and recycled workers lose no count."""
    server = serve("full", "-w", "2").ready(2)
    with Load(server.address, MIXED) as tally:
        eventually(lambda: tally.ok > 100, 20)
        deploy(tmp_path / "app.py", version="v2")
        server.handle().reload(timeout=30)
        server.settled()
        since = time.monotonic()
        eventually(lambda: len(tally.seen(since)) == 2, 20)
    tally.assert_nothing_failed()
    made = len(tally.records)
    eventually(lambda: counted(server) == made, 3, f"{made} requests counted, not {counted(server)}")
    # Hypercorn counts a response a moment after the client has it.
    eventually(lambda: server.status().totals.responses["2xx"] == made, 3, "not all responses are counted")
    status = server.status()
    assert sum(worker.in_flight for worker in status.workers) == 0
    assert server.stop() == 0


def test_counts_survive_kills(serve: Serve) -> None:
    server = serve("full", "-w", "3").ready(3)
    server.expect(r"worker slot=\d")
    with Load(server.address, MIXED) as tally, Watch(lambda: counted(server), pause_s=0.02) as watch:
        for _ in range(3):
            done = tally.ok
            eventually(lambda done=done: tally.ok > done + 50, 20)
            victim = min(server.ready_pids())
            os.kill(victim, signal.SIGKILL)
            eventually(lambda victim=victim: len(server.ready_pids() - {victim}) == 3, 10)
    values = watch.values
    assert values == sorted(values), "a total went down"  # type: ignore[type-var]
    assert not watch.errors
    lost = len(tally.failures)
    assert abs(counted(server) - len(tally.records)) <= lost, tally.summary()
    assert counted(server) >= tally.ok
    assert server.stop() == 0


def test_what_is_open_and_under_way_is_counted(serve: Serve) -> None:
    server = serve("full", "-w", "2").ready(2)

    def sums() -> tuple[int, int, int]:
        workers = server.workers()
        return (
            sum(worker.connections for worker in workers),
            sum(worker.in_flight for worker in workers),
            sum(worker.websockets for worker in workers),
        )

    assert sums() == (0, 0, 0)
    with ExitStack() as stack:
        idle = [stack.enter_context(Connection(server.address)) for _ in range(3)]
        for connection in idle:
            connection.request("GET", "/")
        eventually(lambda: sums() == (3, 0, 0), 5, f"three idle connections, not {sums()}")
        busy = [stack.enter_context(Connection(server.address)) for _ in range(2)]
        for connection in busy:
            connection.send(connection.head("GET", "/slow?s=3"))
        eventually(lambda: sums() == (5, 2, 0), 2, f"two under way, not {sums()}")
        with open_websocket(server.address) as websocket:
            websocket.recv(timeout=5)
            eventually(lambda: sums()[2] == 1, 2, f"one WebSocket, not {sums()}")
            assert sums()[0] == 6
        for connection in busy:
            assert connection.read_answer().status == 200
    eventually(lambda: sums() == (0, 0, 0), 5, f"nothing open, not {sums()}")
    assert server.stop() == 0


def test_responses_are_counted_by_class(serve: Serve) -> None:
    server = serve("full", "-w", "1").ready(1)
    server.expect("Exception on request", "Traceback", "LookupError")
    for path in ("/", "/", "/code/302", "/code/404", "/nowhere", "/code/500", "/raise"):
        get(server.address, path)
    eventually(lambda: counted(server) == 7, 5)

    def seen() -> dict[str, int]:
        (worker,) = server.workers()
        return {name: count for name, count in worker.responses.items() if count}

    wanted = {"2xx": 2, "3xx": 1, "4xx": 2, "5xx": 2}
    eventually(lambda: seen() == wanted, 5, f"{wanted}, not {seen()}")
    assert server.stop() == 0


def test_figures_of_the_processes(serve: Serve) -> None:
    server = serve("full", "-w", "2").ready(2)
    status = server.status()
    assert status.pid == server.pid
    assert status.generation == 1
    assert status.target_workers == 2
    assert status.last_reload is None
    assert status.state
    assert [worker.slot for worker in status.workers] == [0, 1]
    for worker in status.workers:
        assert proc.parent(worker.pid) in server.family
        truth = proc.rss_bytes(worker.pid)
        assert truth * 0.8 < worker.rss_bytes < truth * 1.2
        assert 0 < worker.pss_bytes <= worker.rss_bytes
        assert worker.cpu_percent >= 0
        assert 0 <= worker.loop_lag_s < 1
        assert 0 < worker.uptime_s < 60
        assert worker.restarts == 0
        assert worker.last_exit is None
    with pytest.raises(dataclasses.FrozenInstanceError):
        status.generation = 7  # type: ignore[misc]
    record = status.to_dict()
    assert json.loads(json.dumps(record))["workers"][0]["pid"] == status.workers[0].pid
    assert server.stop() == 0


def test_a_busy_worker_shows_its_cpu(serve: Serve) -> None:
    server = serve("full", "-w", "2").ready(2)
    server.expect(r"worker slot=\d", "Fatal Python error", "kill")
    with Connection(server.address) as connection:
        connection.send(connection.head("GET", "/regex"))
        busy = eventually(lambda: [worker for worker in server.workers() if worker.in_flight], 5)[0]
        eventually(
            lambda: {worker.slot: worker for worker in server.workers()}[busy.slot].cpu_percent > 20,
            10,
            "CPU in use",
        )
    server.send_signal(signal.SIGQUIT)
    server.wait_exit(10)


def test_a_stuck_worker_does_not_hold_status_up_and_shows_its_lag(serve: Serve) -> None:
    server = serve("full", "-w", "2").ready(2)
    with Connection(server.address) as connection:
        connection.send(connection.head("GET", "/block?s=3"))
        stuck = eventually(lambda: [worker for worker in server.workers() if worker.in_flight], 5)[0]
        slowest = 0.0
        for _ in range(20):
            begun = time.monotonic()
            server.status()
            slowest = max(slowest, time.monotonic() - begun)
        assert slowest < 0.5, f"status took {slowest:.2f} s"
        lag = eventually(
            lambda: {worker.slot: worker for worker in server.workers()}[stuck.slot].loop_lag_s > 0.5,
            5,
            "lag shown",
        )
        assert lag
        assert connection.read_answer().status == 200
    assert server.stop() == 0


def test_from_inside_a_handler(serve: Serve) -> None:
    server = serve("full", "-w", "2").ready(2)
    outside = server.status()
    inside = server.get("/status").json()
    assert inside["pid"] == outside.pid
    assert inside["target_workers"] == 2
    assert {worker["pid"] for worker in inside["workers"]} == {worker.pid for worker in outside.workers}
    slots = {server.get().json()["slot"] for _ in range(20)}
    assert slots <= {0, 1}
    assert server.stop() == 0


def test_slots_stay_zero_to_n_minus_one(serve: Serve) -> None:
    """Demand 21: a slot outlives the workers that fill it."""
    server = serve("full", "-w", "3").ready(3)
    server.expect(r"worker slot=\d")
    for _ in range(4):
        victim = max(server.ready_pids())
        os.kill(victim, signal.SIGKILL)
        eventually(lambda victim=victim: len(server.ready_pids() - {victim}) == 3, 10)
    server.handle().reload(timeout=30)
    status = server.settled()
    assert [worker.slot for worker in status.workers] == [0, 1, 2]
    assert sum(worker.restarts for worker in status.workers) == 4
    assert server.stop() == 0


def test_last_exit_tells_how_and_when(serve: Serve) -> None:
    server = serve("full", "-w", "1").ready(1)
    server.expect(r"worker slot=\d")
    (old,) = server.workers()
    at = time.time()
    os.kill(old.pid, signal.SIGKILL)
    eventually(lambda: server.ready_pids() - {old.pid}, 10)
    (fresh,) = server.workers()
    assert fresh.restarts == 1
    last = fresh.last_exit.to_dict() if hasattr(fresh.last_exit, "to_dict") else dataclasses.asdict(fresh.last_exit)
    assert last["pid"] == old.pid
    assert "SIGKILL" in json.dumps(last)
    assert str(time.gmtime(at).tm_year) in json.dumps(last) or any(
        isinstance(value, float) and abs(value - at) < 30 for value in last.values()
    ), last
    assert server.stop() == 0
