"""A handler that forks, and a copy that does not end where it should: the worker serves on, and a stop is bounded."""

from __future__ import annotations

import time

import pytest

from tests.conftest import Serve
from tests.helpers.conditions import eventually
from tests.helpers.loops import EVERY_LOOP

APP = """
import os, sys
from aeros import WebServer
app = WebServer(__name__)

@app.get("/async")
async def in_the_loop():
    if os.fork() == 0:
        WAY
    return {"pid": os.getpid()}

@app.get("/plain")
def in_a_thread():
    if os.fork() == 0:
        WAY
    return {"pid": os.getpid()}

@app.get("/")
async def home():
    return {"pid": os.getpid()}

if __name__ == "__main__":
    app.start(sys.argv[1:])
"""


@EVERY_LOOP
@pytest.mark.parametrize(("path", "way"), [("/async", "sys.exit(0)"), ("/plain", "sys.exit('enough')")])
def test_a_copy_that_calls_sys_exit_takes_nothing_from_the_worker(serve: Serve, path: str, way: str, loop: str) -> None:
    server = serve(APP.replace("WAY", way), "-w", "1", "-k", loop).ready(1)
    server.expect("DeprecationWarning", r"os\.fork\(\)", "enough")
    (pid,) = server.ready_pids()
    for _ in range(3):
        assert server.get(path).json() == {"pid": pid}
        assert server.get().json() == {"pid": pid}
    assert "Traceback" not in server.log
    if path == "/async":
        eventually(lambda: len(server.family) == 4, 10, "supervisor, two zygotes, one worker")
    begun = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - begun < 10
    server.family_gone()
