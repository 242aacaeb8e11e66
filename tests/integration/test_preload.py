"""What a worker may need is imported before the fork: shared then, and of the version that the worker is."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.helpers.conditions import eventually
from tests.helpers.h2client import websocket_opening
from tests.helpers.http import Connection, post
from tests.helpers.wsclient import open_websocket

APP = """
import json, os, sys
from quart import request, websocket
from aeros import WebServer

app = WebServer(__name__)
before = set()

@app.before_fork
def note():
    before.update(sys.modules)

@app.get("/")
async def home():
    return {"state": app.server.status().state}

@app.post("/")
async def take():
    return str(len(await request.get_data()))

@app.websocket("/ws")
async def echo():
    while True:
        await websocket.send(await websocket.receive())

@app.after_serving
async def tell():
    new = sorted(name for name in set(sys.modules) - before if name.partition(".")[0] in ("aeros", "psutil", "uvloop"))
    os.write(2, f"imported since: {json.dumps(new)}\\n".encode())  # as it is, also in a log of JSON

app.start(sys.argv[1:])
"""
EVERYTHING = (
    *("--forwarded-allow", "127.0.0.1", "--request-id", "--slow-request", "5s", "--request-timeout", "30s"),
    *("--access-logfile", "-", "--max-requests", "1000", "--log-format", "json", "--admin", "127.0.0.1:0"),
)


@pytest.mark.parametrize("options", [(), EVERYTHING, ("--http", "hypercorn"), ("--queue-timeout", "5s")])
def test_a_worker_imports_nothing_of_ours(serve: Serve, options: tuple[str, ...]) -> None:
    server = serve(APP, "-w", "1", *options).ready(1)
    assert server.get("/").json() == {"state": "ready"}
    assert post(server.address, "/", b"x" * 100_000).body == b"100000"
    with Connection(server.address) as slow:
        slow.socket.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
        eventually(lambda: server.workers()[0].in_flight == 1, 10)
        slow.socket.sendall(b"cd")
        assert slow.read_answer().body == b"4"
    with open_websocket(server.address) as line, open_websocket(server.address) as left_open:
        line.send("text")
        assert line.recv() == "text"
        with Connection(server.address) as over_h2:
            over_h2.send(websocket_opening())
            eventually(lambda: server.workers()[0].websockets == 3, 10)
        left_open.send("text")
        assert left_open.recv() == "text"
        assert server.stop() == 0
    found = re.search(r"imported since: (\[.*\])", server.log)
    assert found is not None
    assert json.loads(found[1]) == []


LOADED = """
import json, os, sys
from aeros import WebServer

app = WebServer(__name__)

@app.before_fork
def tell():
    supervisor = sorted(name for name in sys.modules if name.startswith("aeros.supervisor."))
    print("loaded at the fork:", json.dumps(supervisor), file=sys.stderr, flush=True)

app.start(sys.argv[1:])
"""


def test_the_first_worker_does_not_wait_for_what_the_supervisor_imports(serve: Serve) -> None:
    server = serve(LOADED, "-w", "1").ready(1)
    loaded = json.loads(server.wait_log(r"loaded at the fork: (\[.*\])")[1])
    assert "aeros.supervisor.zygotes.zygote" in loaded
    assert not {
        f"aeros.supervisor.{part}" for part in ("loop", "workers.workforce", "zygotes.generations", "upgrade.running")
    } & set(loaded)
    assert server.stop() == 0


LAZY_APP = """
import os, sys
from aeros import WebServer
lazy import heavy
lazy import there_is_no_such_module

app = WebServer(__name__)

@app.get("/")
async def home():
    return {"imported by": heavy.PID, "worker": os.getpid()}

app.start(sys.argv[1:])
"""


@pytest.mark.skipif(sys.version_info < (3, 15), reason="Python 3.15 has lazy imports")
def test_what_the_program_imports_lazily_is_imported_before_the_fork(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "heavy.py").write_text("import os\nPID = os.getpid()\n")
    server = serve(LAZY_APP, "-w", "1", "--log-level", "debug").ready(1)
    first = server.get("/").json()
    assert first["imported by"] == server.pid != first["worker"]
    assert server.handle().reload().ok
    second = server.get("/").json()
    assert second["imported by"] not in (server.pid, second["worker"])
    assert re.search("a lazy import of the program fails: .*there_is_no_such_module", server.log)
