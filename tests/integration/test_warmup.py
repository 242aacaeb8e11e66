"""`warmup`: requests answered before the first fork. What they leave is shared; what they start is not left behind."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.helpers.conditions import eventually

#: A page that is slow is not asked again and again.
TIMES = 1 if sys.flags.dev_mode else 8
APP = """
import asyncio, os, sys, threading, time
from quart import render_template_string
from aeros import WebServer
from aeros.misc import sync_to_async

VERSION = "v1"
app = WebServer(__name__)
warmed = []

@app.before_serving
async def begin():
    app.add_url_rule("/late", view_func=late)

async def late():
    return "late"

@app.get("/")
async def home():
    warmed.append(os.getpid())
    return {"by": warmed[0], "pid": os.getpid(), "times": len(warmed), "slot": app.worker.slot}

@sync_to_async
def in_its_thread():
    return threading.current_thread().name

@app.get("/sync")
async def sync():
    return await in_its_thread()

@app.get("/def")
def plain():
    return "plain"

@app.get("/broken")
async def broken():
    raise ValueError("no database yet")

@app.get("/blocks")
async def blocks():
    time.sleep(600)

app.start(sys.argv[1:])
"""


def test_the_workers_have_what_the_warm_up_left(serve: Serve) -> None:
    server = serve(APP, "-w", "2", "--warmup", "/", "--warmup", "/sync", "--warmup", "/def").ready(2)
    answer = server.get("/").json()
    assert answer["by"] not in server.ready_pids(), "it was warmed before the fork"
    assert answer["times"] >= TIMES, "so often that the bytecode is specialised"
    # The threads of the warm-up exist in no worker, and neither of these waits for one.
    assert server.get("/sync").status == 200
    assert server.get("/def").status == 200
    assert server.get("/late").status == 200, "routes may still be added in before_serving"
    status = server.handle().status()
    assert status.totals.requests <= 6, "warm-up requests are nobody's requests"
    assert server.stop() == 0


def test_a_reload_warms_the_new_code(serve: Serve) -> None:
    server = serve(APP, "-w", "1", "--warmup", "/").ready(1)
    server.handle().reload(timeout=30)
    answer = server.get("/").json()
    assert answer["times"] >= TIMES
    assert answer["by"] != answer["pid"]


def test_a_page_that_fails_is_said_once_and_stops_nothing(serve: Serve) -> None:
    server = serve(APP, "-w", "1", "--warmup", "/broken", "--warmup", "/nowhere").ready(1)
    server.expect("the warm-up request GET /broken answered 500")
    server.expect("the warm-up request GET /nowhere answered 404")
    server.expect("Exception on request GET /broken", "Traceback")
    assert server.get("/def").status == 200


def test_a_page_that_blocks_is_given_up_after_the_boot_timeout(serve: Serve) -> None:
    server = serve(APP, "-w", "1", "--warmup", "/blocks", "--boot-timeout", "2s").ready(1)
    server.expect("the warm-up", "Exception on request GET /blocks", "Traceback")
    assert server.get("/def").status == 200


@pytest.mark.parametrize("path", ["no-slash", "//host", "/a b", "/a#b"])
def test_what_is_no_path_is_refused(serve: Serve, path: str) -> None:
    server = serve(APP, "--warmup", path)
    server.expect("")
    assert server.wait_exit() == 2
    assert "--warmup" in server.log


def test_a_warmed_worker_that_dies_is_replaced(serve: Serve) -> None:
    server = serve(APP, "-w", "2", "--warmup", "/", "--warmup", "/sync").ready(2)
    server.expect(r"worker slot=\d")
    victim = min(server.ready_pids())
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: len(server.ready_pids() - {victim}) == 2, 10)
    assert server.get("/sync").status == 200
    assert server.stop() == 0


WATCHED = """
import os, sys
from quart import Quart, signals
from aeros import WebServer

def note(what):
    with open("seen", "a") as seen:
        seen.write(what + "\\n")

for name in ("request_started", "request_finished", "request_tearing_down"):
    getattr(signals, name).connect(lambda *_, name=name, **__: note(name), weak=False)

def wrapped(kind, name):
    inner = getattr(kind, name)
    def outer(self, *arguments, **keywords):
        note(name)
        return inner(self, *arguments, **keywords)
    setattr(kind, name, outer)

for name in ("handle_request", "full_dispatch_request", "dispatch_request", "make_response"):
    wrapped(Quart, name)

app = WebServer(__name__)

@app.get("/")
async def home():
    return {"pid": os.getpid()}

if __name__ == "__main__":
    app.start(sys.argv[1:])
"""


def test_nothing_of_the_app_sees_a_request_that_no_client_made(serve: Serve, tmp_path: Path) -> None:
    """Receivers of signals, and methods that a tracer has wrapped; at the start and at a reload."""
    server = serve(WATCHED, "-w", "1").ready(1)
    seen = tmp_path / "seen"

    def requests() -> list[str]:
        return seen.read_text().splitlines() if seen.exists() else []

    assert requests() == []
    server.handle().reload()
    server.settled(2)
    assert requests() == []
    assert server.get().status == 200
    assert "request_started" in requests()
