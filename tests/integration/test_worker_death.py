"""Acceptance 4: a dead worker is replaced at once, and nobody but its own requests notices."""

from __future__ import annotations

import os
import random
import re
import signal
import statistics
import time
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.helpers import proc
from tests.helpers.conditions import eventually
from tests.helpers.http import ExchangeError
from tests.helpers.load import KeepAliveGet, Load, NewConnectionGet, SlowGet, Tally
from tests.helpers.serverproc import ServerProcess

DIED = r"worker slot=\d+ gen=\d+ pid=\d+"


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("how=kill", "SIGKILL"),
        ("how=segv", "SIGSEGV"),
        ("how=abrt", "SIGABRT"),
        ("how=exit&code=1", "1"),
        ("how=exit&code=0", "0"),
    ],
)
def test_every_way_to_die_is_named_and_the_worker_replaced(serve: Serve, query: str, told: str) -> None:
    server = serve("full", "-w", "2").ready(2)
    server.expect(DIED, "Fatal Python error")
    before = {worker.slot: worker for worker in server.workers()}
    with pytest.raises(ExchangeError):
        server.get(f"/die?{query}")
    eventually(lambda: server.ready_pids() != {worker.pid for worker in before.values()}, 10, "the dead one missed")
    server.settled()
    after = {worker.slot: worker for worker in server.workers()}
    (slot,) = [slot for slot in after if after[slot].pid != before[slot].pid]
    assert after[slot].restarts == 1
    assert told in str(after[slot].last_exit)
    assert after[1 - slot].restarts == 0
    assert after[1 - slot].last_exit is None
    server.wait_log(rf"worker slot={slot} gen=1 pid={before[slot].pid}\b.*{told}", 5)
    assert server.stop() == 0


def kill_workers_under_load(server: ServerProcess, workers: int, kills: int, gap_s: float) -> tuple[Tally, list[float]]:
    """SIGKILL a random worker again and again; the seconds until each replacement first answered."""
    dice = random.Random(4711)
    killed: list[tuple[int, int, float]] = []
    with Load(server.address, (KeepAliveGet, NewConnectionGet, NewConnectionGet, SlowGet)) as tally:
        for _ in range(kills):
            by_slot = {worker.slot: worker.pid for worker in server.workers("ready")}
            slot = dice.choice(sorted(by_slot))
            at = time.monotonic()
            os.kill(by_slot[slot], signal.SIGKILL)
            killed.append((slot, by_slot[slot], at))

            def replaced(slot: int = slot, old: int = by_slot[slot]) -> int | None:
                now = {worker.slot: worker.pid for worker in server.workers("ready")}
                return now[slot] if len(now) == workers and now[slot] != old else None

            fresh = eventually(replaced, 5, "N workers ready again")
            eventually(lambda pid=fresh: tally.first_answer_of(pid), 5, "an answer of the replacement")
            eventually(lambda at=at: time.monotonic() >= at + gap_s, gap_s + 1)
            killed[-1] = (slot, fresh, at)
    took = [(tally.first_answer_of(fresh) or 0) - at for _, fresh, at in killed]
    kill_times = [at for *_, at in killed]
    for failure in tally.failures:
        assert any(map(failure.in_flight_at, kill_times)), f"failed though no worker died meanwhile: {failure}"
    assert len(tally.failures) <= 4 * kills, "more failed than were in flight"
    assert not [failure for failure in tally.failures if failure.outcome == "refused"]
    return tally, took


def test_kills_under_load_cost_only_what_was_in_flight(serve: Serve) -> None:
    server = serve("full", "-w", "4").ready(4)
    server.expect(DIED)
    tally, _ = kill_workers_under_load(server, 4, kills=5, gap_s=0.2)
    assert tally.ok > 100
    eventually(lambda: not proc.zombies(server.family), 5, "no zombies")
    assert server.status().pid == server.pid
    assert server.stop() == 0


@pytest.mark.slow
@pytest.mark.limit_s(180)
def test_thirty_seconds_of_kills(serve: Serve) -> None:
    server = serve("full", "-w", "4").ready(4)
    server.expect(DIED)
    tally, took = kill_workers_under_load(server, 4, kills=30, gap_s=1)
    median = statistics.median(took)
    print(f"median until the replacement answered: {median * 1000:.0f} ms")
    assert median <= 0.1
    assert tally.ok > 1000
    eventually(lambda: not proc.zombies(server.family), 5, "no zombies")
    assert server.status().pid == server.pid
    assert server.stop() == 0


def test_the_next_request_waits_for_the_replacement(serve: Serve) -> None:
    """With one worker it waits in the backlog. How long is measured by `test_thirty_seconds_of_kills`."""
    server = serve("full", "-w", "1").ready(1)
    server.expect(DIED)
    for _ in range(5):
        (old,) = server.ready_pids()
        os.kill(old, signal.SIGKILL)
        assert server.get().json()["pid"] != old
        server.ready(1)
    assert len(re.findall(rf"{DIED} died: .*; replaced at once$", server.log, re.MULTILINE)) == 5, server.log
    assert server.stop() == 0


def test_all_workers_killed_at_once_refuses_nobody(serve: Serve) -> None:
    server = serve("full", "-w", "3").ready(3)
    server.expect(DIED)
    with Load(server.address, (NewConnectionGet, NewConnectionGet)) as tally:
        before = server.ready_pids()
        eventually(lambda: tally.ok > 20, 10)
        at = time.monotonic()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: len(server.ready_pids() - before) == 3, 10, "three new workers")
        done = tally.ok
        eventually(lambda: tally.ok > done + 20, 10)
    assert not [failure for failure in tally.failures if failure.outcome == "refused"]
    assert all(failure.begun <= at + 0.05 for failure in tally.failures), tally.failures
    assert server.stop() == 0


def test_a_worker_killed_while_it_drains_is_not_replaced(serve: Serve, tmp_path: Path) -> None:
    from tests.helpers.http import Connection

    server = serve("full", "-w", "2", "--drain-timeout", "30").ready(2)
    server.expect(DIED)
    with Connection(server.address) as held:
        held.send(held.head("GET", "/slow?s=60"))
        eventually(lambda: sum(worker.in_flight for worker in server.workers()) == 1, 5)
        server.send_signal(signal.SIGHUP)
        draining = eventually(
            lambda: [worker for worker in server.workers("draining") if worker.in_flight], 20, "the old worker draining"
        )
        eventually(lambda: len(server.ready_pids()) == 2, 10)
        ready = server.ready_pids()
        os.kill(draining[0].pid, signal.SIGKILL)
        eventually(lambda: not server.workers("draining"), 10)
    server.settled()
    assert server.ready_pids() == ready
    assert server.stop() == 0


def test_a_handler_may_use_a_process_pool(serve: Serve) -> None:
    """Demand 31: a handler may start processes; workers are no daemons that may have no children."""
    server = serve(
        """
import os, sys
from concurrent.futures import ProcessPoolExecutor
from aeros import WebServer

app = WebServer(__name__)

@app.get("/")
async def home():
    import asyncio
    with ProcessPoolExecutor(1) as pool:
        child = await asyncio.get_running_loop().run_in_executor(pool, os.getpid)
    return {"pid": os.getpid(), "child": child}

if __name__ == "__main__":
    app.start(sys.argv[1:])
""",
        "-w",
        "1",
    ).ready(1)
    answer = server.get().json()
    assert answer["child"] != answer["pid"]
    eventually(lambda: not proc.alive(answer["child"]), 5)
    assert server.ready_pids() == {answer["pid"]}
    assert server.stop() == 0
