"""aeros.serve(): an app that is not Quart's, from Python."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.conftest import Serve

APP = """
import json
import sys
import aeros

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    worker, server = aeros.current_worker(), aeros.current_server()
    told = {"slot": worker.slot, "pid": worker.pid, "workers": server.status().target_workers}
    body = json.dumps(told).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})

def make():
    return app

def ready(about):
    print(f"ready {about.slot}", flush=True)
"""


def test_an_app_object_with_hooks_and_status(serve: Serve) -> None:
    server = serve(
        APP + "\nif __name__ == '__main__':\n    aeros.serve(app, sys.argv[1:], worker_ready=ready, lifespan='off')\n",
        *("-w", "2"),
    )
    server.ready(2)
    told = server.get("/").json()
    assert told["pid"] in server.ready_pids()
    assert told["workers"] == 2
    assert sorted(server.stdout.split("\n")) == ["", "ready 0", "ready 1"]
    assert server.command("reload").returncode == 0
    assert server.get("/").json()["pid"] != told["pid"]


def test_a_name_and_a_factory_beside_a_program(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(APP)
    program = """
import urllib.request
import aeros
try:
    aeros.current_worker()
except aeros.StateError as error:
    print(error)
with aeros.serve("shop:make", "-b 127.0.0.1:0 --lifespan off", factory=True, block=False, workers=1) as handle:
    print(urllib.request.urlopen(handle.addresses[0]).read().decode(), handle.status().target_workers)
"""
    server = serve(argv=[sys.executable, "-c", program], cwd=tmp_path)
    assert server.wait_exit(60) == 0
    assert "does not run in a worker" in server.stdout
    assert '"slot": 0' in server.stdout


def test_a_wsgi_app_is_refused_by_the_name_of_its_adapter(serve: Serve, tmp_path: Path) -> None:
    server = serve(
        argv=[sys.executable, "-c", "import aeros\ndef app(environ, start_response): ...\naeros.serve(app)"],
        cwd=tmp_path,
    )
    assert server.wait_exit(60) == 3
    assert "asgiref.wsgi.WsgiToAsgi" in server.log
