"""`aeros stack SLOT`: where a worker is, idle, awaiting, blocked in Python, in a sleep, or in C; and it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.helpers.conditions import eventually
from tests.helpers.http import Connection
from tests.helpers.loops import EVERY_LOOP
from tests.helpers.serverproc import ServerProcess, environment


def command(server: ServerProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "aeros", *arguments],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env=environment(server.runtime_dir, server.marker),
    )


@EVERY_LOOP
def test_an_idle_worker_and_one_that_awaits(serve: Serve, loop: str) -> None:
    server = serve("full", "-w", "1", "-k", loop).ready(1)
    stacks = server.handle().stack(0)
    assert (stacks.slot, stacks.pid, stacks.by, stacks.running) == (0, server.workers()[0].pid, "worker", "")
    assert not any(task.request for task in stacks.tasks)
    with Connection(server.address) as connection:
        connection.send(connection.head("GET", "/slow?s=2", headers={"X-Request-ID": "abc"}))
        task = eventually(
            lambda: next(
                (task for task in server.handle().stack(0).tasks if "asyncio.sleep" in "".join(task.stack)), None
            ),
            5,
            "the request at its await",
        )
        assert task.request.startswith("GET /slow (")
        assert task.request.endswith("id abc)")
        assert any("in slow" in line for line in task.stack)
        page = command(server, "stack", str(server.pid), "0").stdout
        assert "waits for events" in page, page
        assert "await asyncio.sleep(" in page
        assert connection.read_answer().status == 200
    assert server.stop() == 0


@pytest.mark.parametrize(("loop", "http"), [("uvloop", "lane"), ("asyncio", "lane"), ("uvloop", "hypercorn")])
def test_a_loop_blocked_in_a_sleep_answers_itself_and_goes_on(serve: Serve, loop: str, http: str) -> None:
    server = serve("full", "-w", "1", "-k", loop, "--http", http, "--worker-timeout", "60").ready(1)
    with Connection(server.address) as connection, Connection(server.address) as other:
        other.send(other.head("GET", "/slow?s=3"))
        eventually(lambda: server.workers()[0].in_flight == 1, 5)
        connection.send(connection.head("GET", "/block?s=3"))
        eventually(lambda: server.workers()[0].in_flight == 2, 5)
        for _ in range(3):
            stacks = server.handle().stack(0)
            assert stacks.by == "worker"
            assert stacks.running.startswith("GET /block (")
            assert "time.sleep" in stacks.threads[0].stack[-1]
            assert {task.request.partition(" (")[0] for task in stacks.tasks if "/slow" in task.request} == {
                "GET /slow"
            }
        assert "GET /block" in command(server, "stack", str(server.pid), "0").stdout
        assert connection.read_answer().status == 200
        assert other.read_answer().status == 200
    assert server.stop() == 0


@pytest.mark.slow
def test_code_in_c_is_shown_by_faulthandler(serve: Serve) -> None:
    server = serve("full", "-w", "1", "--worker-timeout", "60").ready(1)
    server.expect(r"worker slot=\d", "Fatal Python error", "kill")
    with Connection(server.address) as connection:
        connection.send(connection.head("GET", "/sum"))
        eventually(lambda: server.workers()[0].in_flight, 5)
        for _ in range(2):
            stacks = server.handle().stack(0)
            assert stacks.by == "faulthandler"
            assert stacks.threads[0].name == "MainThread"
            assert any("in summing" in line for line in stacks.threads[0].stack)
        assert "code that is not Python" in command(server, "stack", str(server.pid), "0").stdout
    (worker,) = server.workers()
    os.kill(worker.pid, signal.SIGKILL)
    eventually(lambda: server.ready_pids() - {worker.pid}, 10)
    assert server.stop() == 0


def test_a_stopped_worker_says_nothing_and_wrong_questions_are_refused(serve: Serve) -> None:
    server = serve("full", "-w", "1", "--worker-timeout", "60").ready(1)
    (worker,) = server.workers()
    os.kill(worker.pid, signal.SIGSTOP)
    done = command(server, "stack", str(server.pid), "0", "--json")
    assert json.loads(done.stdout)["by"] == ""
    os.kill(worker.pid, signal.SIGCONT)
    eventually(lambda: server.handle().stack(0).by == "worker", 5)
    for wrong, says in (("7", "there is no slot 7"), ("x", "takes the number of a slot")):
        done = command(server, "stack", str(server.pid), wrong)
        assert done.returncode == 2
        assert says in done.stderr
        assert "Traceback" not in done.stderr
    assert server.stop() == 0


def test_a_profile_of_a_worker_that_serves_on(serve: Serve, tmp_path: Path) -> None:
    server = serve("full", "-w", "1").ready(1)
    path = tmp_path / "out.json"
    with Connection(server.address) as connection:
        connection.send(connection.head("GET", "/slow?s=3"))
        done = command(server, "profile", str(server.pid), "0", "--seconds", "1", "--output", str(path))
        assert done.returncode == 0, done.stderr
        assert server.get().status == 200
        assert connection.read_answer().status == 200
    assert f"(pid {server.pid}, http://" in done.stdout
    frames = [frame["name"] for frame in json.loads(path.read_text())["shared"]["frames"]]
    assert any(frame.startswith("slow (") for frame in frames)
    refused = command(server, "profile", str(server.pid), "7")
    assert (refused.returncode, refused.stderr) == (2, "aeros: there is no slot 7; slots are 0 to 0\n")
    assert server.stop() == 0
