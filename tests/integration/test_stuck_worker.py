"""A worker that makes no progress is shown, killed and replaced; one only busy or slow to start is not."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from tests.apps import source_of
from tests.conftest import Serve
from tests.helpers.conditions import eventually
from tests.helpers.http import Connection
from tests.helpers.load import Load, NewConnectionGet
from tests.helpers.loops import EVERY_LOOP

TIMEOUT_S = 1.0


@EVERY_LOOP
@pytest.mark.parametrize(("path", "frame"), [("/block?s=600", "in block"), ("/regex", "in regex")])
def test_a_stuck_loop_is_shown_killed_and_replaced(serve: Serve, path: str, frame: str, loop: str) -> None:
    server = serve("full", "-w", "2", "-k", loop, "--worker-timeout", f"{TIMEOUT_S:g}").ready(2)
    server.expect(r"worker slot=\d", "Fatal Python error", "Traceback", "Timeout")
    before = {worker.slot: worker.pid for worker in server.workers()}
    with Connection(server.address) as connection:
        begun = time.monotonic()
        connection.send(connection.head("GET", path))
        stuck = eventually(lambda: [worker for worker in server.workers() if worker.in_flight], 5)[0]
        with Load(server.address, (NewConnectionGet,)) as tally:
            eventually(lambda: server.ready_pids() - set(before.values()), 15, "a replacement")
            took = time.monotonic() - begun
    assert TIMEOUT_S - 0.5 <= took < TIMEOUT_S + 4, "counted from the last heartbeat, of which there are two a second"
    after = {worker.slot: worker for worker in server.workers()}
    assert after[stuck.slot].pid != stuck.pid
    assert after[1 - stuck.slot].pid == before[1 - stuck.slot]
    tally.assert_nothing_failed()
    server.wait_log(rf"worker slot={stuck.slot} gen=1 pid={stuck.pid}\b.*no progress", 5)
    server.wait_log(rf'File ".*app.py", line \d+ {frame}\b', 5)
    eventually(lambda: stuck.pid not in server.family, 5, "the stuck one gone")
    assert server.stop() == 0


def test_a_stopped_process_is_replaced(serve: Serve) -> None:
    server = serve("full", "-w", "2", "--worker-timeout", f"{TIMEOUT_S:g}").ready(2)
    server.expect(r"worker slot=\d", "Fatal Python error")
    before = server.ready_pids()
    victim = min(before)
    os.kill(victim, signal.SIGSTOP)
    eventually(lambda: victim not in server.ready_pids() and len(server.ready_pids()) == 2, 15, "a replacement")
    eventually(lambda: victim not in server.family, 5, "the stopped one gone")
    assert server.stop() == 0


def test_a_slow_boot_is_not_a_stuck_loop(serve: Serve) -> None:
    text = source_of("full").replace('note("before_serving")', "time.sleep(2)")
    server = serve(text, "-w", "2", "--worker-timeout", "1", "--boot-timeout", "30").ready(2)
    assert all(worker.restarts == 0 for worker in server.workers())
    assert server.stop() == 0


def test_a_worker_that_is_only_busy_is_left_alone(serve: Serve) -> None:
    """Blocking again and again, each time for less than the limit: progress is what counts."""
    server = serve("full", "-w", "1", "--worker-timeout", "1.2").ready(1)
    (pid,) = server.ready_pids()
    for _ in range(4):
        assert server.get("/block?s=0.6").json()["pid"] == pid
    assert server.ready_pids() == {pid}
    assert server.stop() == 0


def test_a_stopped_and_continued_family_loses_nobody(serve: Serve) -> None:
    """Catalogue 43: suspend and resume, here of every process at once."""
    server = serve("full", "-w", "2", "--worker-timeout", "1").ready(2)
    before = server.ready_pids()
    family = sorted(server.family)
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    threading.Event().wait(2.5)  # the injection
    for pid in reversed(family):  # the supervisor, the oldest, wakes last
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: server.get().status == 200, 10)
    threading.Event().wait(1.5)  # longer than the limit: a wrong verdict would have come by now
    assert server.ready_pids() == before
    assert server.stop() == 0
