"""Catalogue 8 and 10, rehearsed as a user would: `aeros debug` and what the server makes of it."""

from __future__ import annotations

import time

import pytest

from tests.conftest import Serve
from tests.helpers import proc
from tests.helpers.conditions import eventually
from tests.helpers.figures import Report
from tests.helpers.load import Load, NewConnectionGet

WORKER = (r"worker slot=\d", "Fatal Python error", "Traceback", "Current thread")


@pytest.mark.parametrize("how", ["block", "deadlock", "exit", "segv"])
def test_a_worker_told_to_fail_is_replaced(serve: Serve, how: str, report: Report) -> None:
    server = serve("full", "-w", "2", "--debug-faults", "--worker-timeout", "1").ready(2)
    server.expect(*WORKER)
    (victim,) = [worker.pid for worker in server.workers() if worker.slot == 1]
    with Load(server.address, (NewConnectionGet,), timeout_s=10) as tally:
        begun = time.monotonic()
        done = server.command("debug", str(server.pid), "1", how)
        named = f"app.py (pid {server.pid}, {server.url.removesuffix('/')})"
        assert (done.returncode, done.stdout) == (0, f"{named} worker of slot 1 told to {how}\n")
        eventually(lambda: not proc.alive(victim), 10)
        took = time.monotonic() - begun
        server.ready(2)
    report.note(f"gone {took:.1f} s after the command was typed (limit 1 s)")
    assert len(tally.failures) <= 1, tally.summary()
    if how in ("block", "deadlock"):
        assert "made no progress for 1 s" in server.log
        assert "misbehaviour.py" in server.log, "the stack is in the log"
    assert server.stop() == 0


def test_a_delay_and_a_leak_kill_nobody_but_are_seen(serve: Serve) -> None:
    server = serve("full", "-w", "1", "--debug-faults").ready(1)
    server.expect(*WORKER)
    (pid,) = server.ready_pids()
    before = proc.rss_bytes(pid)
    server.handle().debug(0, "leak")
    eventually(lambda: proc.rss_bytes(pid) > before + (60 << 20), 5)
    server.handle().debug(0, "delay", 1.0)
    eventually(lambda: server.workers()[0].loop_lag_max_s > 0.3, 5)
    assert server.ready_pids() == {pid}
    assert server.stop() == 0


def test_without_debug_faults_it_is_refused(serve: Serve) -> None:
    server = serve("full", "-w", "1").ready(1)
    done = server.command("debug", str(server.pid), "0", "exit")
    assert done.returncode != 0
    assert "--debug-faults" in done.stderr
    assert server.get().status == 200
    assert server.stop() == 0
