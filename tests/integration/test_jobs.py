"""Processes that handlers start: they end with their worker, which is said, unless they have a session of their own."""

from __future__ import annotations

import os
import signal

import pytest

from tests.conftest import Serve
from tests.helpers import proc
from tests.helpers.conditions import eventually

APP = """
import subprocess, sys
from aeros import WebServer
app = WebServer(__name__)
jobs = []

@app.get("/")
async def start():
    jobs.append(subprocess.Popen(["sleep", "300"], start_new_session=OWN))
    return {"pid": jobs[-1].pid}

if __name__ == "__main__":
    app.start(sys.argv[1:])
"""


@pytest.mark.parametrize("load", ["fork", "worker"])
@pytest.mark.parametrize("own", [False, True])
def test_a_job_ends_with_its_worker_and_is_named(serve: Serve, own: bool, load: str) -> None:
    server = serve(APP.replace("OWN", str(own)), "-w", "1", "--load", load).ready(1)
    server.expect("ResourceWarning", "Popen")
    job = server.get().json()["pid"]
    (old,) = server.ready_pids()
    if own:
        server.expected_leftovers.add(job)
    assert server.handle().reload(timeout=30).ok
    eventually(lambda: not proc.alive(old), 20)
    if own:
        assert proc.alive(job)
        assert "is ended with it" not in server.log
        os.kill(job, signal.SIGKILL)
    else:
        server.wait_log(rf"pid={old} .*is ended with it: sleep \(pid {job}\)")
        eventually(lambda: not proc.alive(job), 10)
        assert server.log.count("is ended with it") == 1
    assert server.stop() == 0
