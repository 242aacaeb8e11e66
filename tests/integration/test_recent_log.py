"""`aeros logs`: what supervisor, zygotes and workers said lately, and live; nobody who reads it slowly matters."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

import aeros
from tests.conftest import Serve
from tests.helpers.conditions import eventually
from tests.helpers.serverproc import ServerProcess, environment

APP = """
import asyncio
from aeros import WebServer
app = WebServer(__name__)

@app.get("/slow")
async def slow():
    await asyncio.sleep(1)
    return "slow"

@app.worker_exit
def on_exit(worker):
    raise RuntimeError("a hook that fails")

if __name__ == "__main__":
    import sys
    app.start(sys.argv[1:])
"""


@pytest.fixture
def followers() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def follow(server: ServerProcess, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "aeros", "logs", "-f", *arguments],
        env=environment(server.runtime_dir, server.marker + "-follower"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )


@pytest.mark.parametrize("form", ["text", "json"])
def test_it_is_the_log_of_the_whole_family(serve: Serve, followers: list[subprocess.Popen[str]], form: str) -> None:
    server = serve(APP, "-w", "2", "--slow-request", "200ms", "--log-format", form).ready(2)
    server.expect("a hook that fails", "Traceback", "worker_exit hook failed", "GET /slow", "app.py")
    follower = follow(server)
    followers.append(follower)
    lines: list[str] = []
    assert follower.stdout is not None
    reading = threading.Thread(target=lambda: lines.extend(follower.stdout or ()), daemon=True)
    reading.start()
    eventually(lambda: any("reload: aeros reload" in line for line in lines), what="what was said before it came")
    assert server.get("/slow").status == 200  # said by a worker
    server.handle().reload()
    server.wait_log("hook failed", count=2)  # said by a zygote
    assert server.stop() == 0
    assert follower.wait(10) == 0
    reading.join(10)
    written = [line for line in server.log.splitlines() if line]
    said = Counter(line.rstrip("\n") for line in lines if line.strip())
    assert not said - Counter(written), "what was never written, or was said twice"
    # The last lines are written while the server goes.
    stopping = next(index for index, line in enumerate(written) if "stopping: " in line)
    assert not Counter(written[:stopping]) - said


def test_the_latest_and_the_wrong(serve: Serve) -> None:
    server = serve("plain", "-w", "1").ready(1)
    everything = server.command("logs").stdout.splitlines()
    assert everything == server.log.splitlines()
    assert server.command("logs", "--server", str(server.pid), "-n", "2").stdout.splitlines() == everything[-2:]
    assert server.command("logs", "-n", "0").stdout == ""
    wrong = server.command("logs", "-n", "some")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "must be a whole number, not 'some'" in wrong.stderr
    twice = server.command("logs", str(server.pid), "--server", str(server.pid))
    assert twice.returncode == 2
    assert "name one server" in twice.stderr


def test_to_leave_is_not_to_stop(serve: Serve) -> None:
    server = serve("plain", "-w", "1").ready(1)
    with aeros.connect(server.control_path) as handle:
        assert len(list(handle.logs(2))) == 2
    assert server.get().status == 200
    assert server.stop(signal.SIGTERM) == 0
