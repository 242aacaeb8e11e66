"""Processes that are stopped, starved, orphaned or piled up."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.apps import deploy, source_of
from tests.conftest import Serve
from tests.helpers import proc
from tests.helpers.conditions import Watch, eventually, stays
from tests.helpers.figures import Report
from tests.helpers.http import Connection
from tests.helpers.load import KeepAliveGet, Load, NewConnectionGet
from tests.helpers.wsclient import EchoClient


def test_a_worker_out_of_descriptors_pauses_and_recovers(serve: Serve, report: Report) -> None:
    """Catalogue 13: who is connected is served, accepting waits without spinning, then goes on."""
    server = serve("full", "-w", "1").ready(1)
    server.expect("cannot accept connections for the moment")
    (pid,) = server.ready_pids()
    with Connection(server.address) as held:
        held.send(held.head("GET", "/slow?s=4"))
        eventually(lambda: sum(worker.in_flight for worker in server.workers()) == 1, 10)
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))
        with Load(server.address, (NewConnectionGet, NewConnectionGet)) as tally:
            server.wait_log("cannot accept", 10)
            # It was under way before: idle connections are closed for newcomers, this one is not.
            ticks = proc.cpu_ticks(pid)
            assert held.read_answer().status == 200
            ticks = proc.cpu_ticks(pid) - ticks
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
            freed, answered = time.monotonic(), tally.ok
            eventually(lambda: tally.ok > answered + 20, 5)
            took = time.monotonic() - freed
    tally.assert_nothing_failed(at_least=20)
    assert ticks < 100, f"{ticks} ticks of CPU in at most 4 s: it spins"
    assert server.ready_pids() == {pid}
    report.note(f"{ticks} ticks of CPU while starved, served again after {took:.1f} s")
    assert server.stop() == 0


def test_idle_orphans_are_gone_within_a_second(serve: Serve, report: Report) -> None:
    server = serve("full", "-w", "2").ready(2)
    server.expect("supervisor")
    server.complete(2)
    begun = time.monotonic()
    server.send_signal(signal.SIGKILL)
    server.family_gone(5)
    took = time.monotonic() - begun
    report.milliseconds("idle: last exit after", took)
    assert took < 1.5  # 1 s, and the time it takes to look
    server.wait_exit(5)


def test_reloads_in_a_row_with_websockets_keep_processes_bounded(serve: Serve, tmp_path: Path, report: Report) -> None:
    """Catalogue 33: connections that never end do not pile old workers up beyond their drain time."""
    server = serve("full", "-w", "2", "--drain-timeout", "1", "--shutdown-timeout", "1").ready(2)
    with EchoClient(server.address), EchoClient(server.address), Watch(lambda: len(server.family)) as watch:
        for number in range(8):
            deploy(tmp_path / "app.py", "full", f"v{number + 2}")
            server.handle().reload(timeout=30)
    most = max(int(str(value)) for value in watch.values)
    assert most <= 3 + 3 * 2 + 4, f"{most} processes"
    server.settled()
    server.complete(2)
    report.note(f"8 reloads, at most {most} processes")
    assert server.stop() == 0


def test_a_worker_stopped_for_a_moment_lives(serve: Serve) -> None:
    """Catalogue 50: what a tracer, a debugger or a sampling profiler does to a process."""
    server = serve("full", "-w", "2", "--worker-timeout", "2").ready(2)
    before = server.ready_pids()
    with Load(server.address, (KeepAliveGet, NewConnectionGet)) as tally:
        for _ in range(8):
            for pid in before:
                os.kill(pid, signal.SIGSTOP)
                stays(lambda: True, 0.1)
                os.kill(pid, signal.SIGCONT)
        answered = tally.ok
        eventually(lambda: tally.ok > answered + 20, 10)
    tally.assert_nothing_failed()
    assert server.ready_pids() == before
    assert server.stop() == 0


@pytest.mark.slow
def test_busy_neighbours_cost_nobody_his_life(serve: Serve, report: Report) -> None:
    """Catalogue 51: 20 busy loops on the same CPUs, and the shortest timeout that makes sense."""
    server = serve("full", "-w", "2", "--worker-timeout", "3").ready(2)
    before = server.ready_pids()
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(20)]
    try:
        with Load(server.address, (KeepAliveGet, NewConnectionGet)) as tally:
            stays(lambda: server.popen.poll() is None, 6)
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
    tally.assert_nothing_failed()
    assert server.ready_pids() == before
    report.note(f"0 killed, slowest answer {tally.slowest_s():.2f} s")
    assert server.stop() == 0


@pytest.mark.parametrize("old_is_deleted", [False, True])
def test_a_switched_symlink_is_followed(serve: Serve, tmp_path: Path, old_is_deleted: bool) -> None:
    """Catalogue 59: releases in folders of their own, "current" leads to one of them."""
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "app.py").write_text(source_of("full", version))
    current = tmp_path / "current"
    current.symlink_to("v1")
    argv = [sys.executable, str(current / "app.py"), "-b", "127.0.0.1:0", "-w", "2"]
    server = serve(argv=argv).ready(2)
    with Load(server.address, (NewConnectionGet,)) as tally:
        fresh = tmp_path / "fresh"
        fresh.symlink_to("v2")
        fresh.replace(current)
        if old_is_deleted:
            (tmp_path / "v1" / "app.py").unlink()
            (tmp_path / "v1").rmdir()
        server.handle().reload(timeout=30)
        assert server.get().json()["version"] == "v2"
    tally.assert_nothing_failed()
    assert server.stop() == 0
