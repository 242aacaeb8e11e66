"""The fixture aeros_server, in a suite of its own as a user writes it."""

from __future__ import annotations

import re
import subprocess
import sys
import uuid
from pathlib import Path

from tests.helpers import proc
from tests.helpers.conditions import eventually
from tests.helpers.serverproc import environment

APP = """
from aeros import WebServer
app = WebServer(__name__, workers=7)
WORD = "one"

@app.get("/")
async def home():
    print("somebody came", flush=True)
    return WORD
"""
SUITE = """
import os, signal, urllib.request
from pathlib import Path
import pytest
from aeros.testing import LiveServer
from shop import app

async def plain(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"plain"})

def get(server):
    with urllib.request.urlopen(server.url) as answer:
        return answer.read().decode()

def test_objects(aeros_server):
    web, other = aeros_server(app), aeros_server(plain, "-w 2", lifespan="off")
    assert (get(web), get(other)) == ("one", "plain")
    assert web.status().target_workers == 1
    pid = other.kill(1)
    other.wait_ready()
    now = {worker.pid for worker in other.status().workers}
    assert len(now) == 2 and pid not in now
    assert other.reload().ok
    web.wait_log("somebody c.me")
    assert other.stop() == 0
    with pytest.raises(Exception, match="did you mean port"):
        aeros_server(app, prot=1)

def test_a_name(aeros_server):
    server = aeros_server("shop:app")
    assert get(server) == "one"
    Path("shop.py").write_text(Path("shop.py").read_text().replace('"one"', '"two"'))
    assert server.reload().how == "rerun"
    assert get(server) == "two"

def test_killed(aeros_server):
    server = aeros_server("shop:app", workers=2)
    os.kill(server.pid, signal.SIGKILL)
    assert server.wait(10) == -signal.SIGKILL

@pytest.fixture(scope="module")
def shared():
    with LiveServer(plain) as server:
        yield server

def test_shared(shared):
    assert get(shared) == "plain"

def test_that_fails(aeros_server):
    get(aeros_server(app))
    assert not "this"

def test_that_cannot_start(aeros_server):
    aeros_server("shop:ap")
"""


def test_a_suite_with_servers(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(APP)
    (tmp_path / "test_shop.py").write_text(SUITE)
    marker = uuid.uuid4().hex
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error", "-p", "aeros.testing.plugin"],
        cwd=tmp_path,
        env=environment(tmp_path, marker) | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=80,
    )
    assert re.search(r"2 failed, 4 passed", done.stdout), done.stdout + done.stderr
    failed, _, refused = done.stdout.partition("test_that_cannot_start ___")
    assert "Aeros server http://127.0.0.1:" in failed
    assert "somebody came" in failed
    assert "did you mean app" in refused
    eventually(lambda: not proc.family(marker), what="no process of the suite left")


def test_the_plugin_is_a_small_import() -> None:
    heavy = "{'quart', 'hypercorn', 'uvloop', 'asyncio', 'aeros.options', 'aeros.start', 'aeros.testing.live_server'}"
    program = (
        "import pytest, sys; before = set(sys.modules); import aeros.testing.plugin; "
        f"print({heavy} & (set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
