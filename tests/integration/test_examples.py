"""Each example is started as its docstring says, on a free port, and does what it says."""

from __future__ import annotations

import ast
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.helpers.balancers import nginx
from tests.helpers.conditions import eventually
from tests.helpers.http import Connection
from tests.helpers.serverproc import REPOSITORY, ServerProcess, environment
from tests.helpers.wsclient import close_code, open_websocket

EXAMPLES = REPOSITORY / "examples"
PORT_0 = {"AEROS_PORT": "0"}


def start(serve: Serve, name: str) -> ServerProcess:
    return serve(argv=[sys.executable, str(EXAMPLES / name)], env=PORT_0).ready()


def test_every_example_is_tested_here() -> None:
    tested = Path(__file__).read_text()
    examples = [path.name for path in EXAMPLES.glob("*.py")]
    assert examples
    assert [name for name in examples if name not in tested and name.removesuffix(".py") not in tested] == []


def test_every_example_says_how_to_run_it() -> None:
    for path in EXAMPLES.glob("*.py"):
        assert path.name in (ast.get_docstring(ast.parse(path.read_text())) or "") or path.stem in (
            "factory",
            "fastapi_app",
        ), path


def test_demo_answers_on_all_its_routes(serve: Serve) -> None:
    server = start(serve, "demo.py")
    assert "Aeros demo" in server.get("/").text
    assert server.get("/json").json()["response"] == "ok"
    assert server.get("/hello/you?from=me").json() == {"hello": "you", "from": "me"}
    assert server.get("/plain").text == "a plain def handler\n"
    assert server.get("/count").json() == {"counted": 100_000}
    assert server.get("/status").json()["ready_workers"] == 2
    assert server.stop() == 0


def test_hello_is_served_by_two_workers(serve: Serve) -> None:
    server = start(serve, "hello.py")
    assert server.get().json() == {"response": "ok"}
    assert len(server.ready_pids()) == 2
    assert server.stop() == 0


def test_sync_work_answers_and_names_the_forgotten_await(serve: Serve) -> None:
    server = start(serve, "sync_work.py")
    server.expect("Exception on request", "Traceback", "NotAwaitedError")
    assert server.get("/").json() == {"response": "ok"}
    assert server.get("/plain").json() == {"response": "ok"}
    assert server.get("/forgotten").status == 500
    server.wait_log(r"sync_method\(\) was called but not awaited: write `await sync_method")
    assert server.stop() == 0


def test_hooks_run_in_the_order_the_guide_gives(serve: Serve) -> None:
    server = start(serve, "hooks.py")
    answer = server.get().json()
    assert answer["seen"] == ["after_fork", "before_serving", "while_serving", "worker_ready"]
    assert answer["database"] == 42
    first = server.ready_pids()
    server.handle().reload()
    server.settled(2)
    eventually(lambda: "on_reload: generation 2" in server.stdout)
    eventually(lambda: all(f"worker_exit: pid {pid} of slot" in server.stdout for pid in first))
    assert server.stop() == 0
    for text in ("before_fork: slot 1 of generation 2", "after_serving: this worker is ending"):
        assert text in server.stdout


def test_background_prints_what_it_did(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "background.py")],
        cwd=tmp_path,
        env=environment(tmp_path, "none"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "3 workers ready, 4 requests served" in done.stdout
    assert done.stdout.endswith("after the with block: stopped\n")


def test_factory_is_called_by_the_command(serve: Serve) -> None:
    argv = [sys.executable, "-m", "aeros", "run", f"{EXAMPLES / 'factory.py'}:create_app()", "-w", "2"]
    server = serve(argv=argv, env={**PORT_0, "GREETING": "good day"}).ready(2)
    assert server.get().json() == {"response": "good day"}
    assert server.get("/cart/2").json() == {"article": 2, "price": 1200}
    assert server.get("/cart/3").status == 404
    assert server.stop() == 0


def test_database_is_one_for_all_workers(serve: Serve, tmp_path: Path) -> None:
    pytest.importorskip("aiosqlite", reason="NOT RUN: examples/database.py, for want of aiosqlite")
    env = PORT_0 | {"DATABASE": f"sqlite+aiosqlite:///{tmp_path}/notes.db"}
    server = serve(argv=[sys.executable, str(EXAMPLES / "database.py")], env=env).ready()
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for text in (b"milk", b"tea"):
        with Connection(server.address) as connection:
            assert connection.request("POST", "/notes", body=b"text=" + text, headers=form).status == 201
    assert all(server.get("/notes").json() == ["milk", "tea"] for _ in range(4))
    assert server.stop() == 0


def test_chat_tells_all_in_the_room_and_nobody_else(serve: Serve) -> None:
    server = start(serve, "chat.py")
    with (
        open_websocket(server.address, "/tea/ann") as ann,
        open_websocket(server.address, "/tea/ben") as ben,
        open_websocket(server.address, "/beer/cid") as cid,
    ):
        for each, words in ((cid, "anybody?"), (ben, "here"), (ann, "hello")):
            each.send(words)
            while not each.recv(10).endswith(words):  # its own, so all that were there have been told
                pass
        assert ben.recv(10) == "ann: hello"
        cid.send("bye")
        assert cid.recv(10) == "cid: bye"  # and nothing of tea before
    assert server.stop() == 0


def test_upload_is_written_whole_or_not_at_all(serve: Serve, tmp_path: Path) -> None:
    folder = tmp_path / "uploads"
    env = PORT_0 | {"UPLOADS": str(folder)}
    server = serve(argv=[sys.executable, str(EXAMPLES / "upload.py")], env=env).ready()
    body = bytes(range(256)) * 4096
    with Connection(server.address) as connection:
        answer = connection.request("PUT", "/film", body=body)
        assert (answer.status, answer.json()["length"]) == (201, len(body))
        assert answer.json()["sha256"] == hashlib.sha256(body).hexdigest()
    assert (folder / "film").read_bytes() == body
    with Connection(server.address) as connection:
        connection.send(connection.head("PUT", "/half", 1_000_000) + body[:300_000])
        eventually(lambda: len(list(folder.iterdir())) == 2)
    eventually(lambda: [path.name for path in folder.iterdir()] == ["film"])
    assert server.stop() == 0


def test_jobs_end_before_their_worker(serve: Serve) -> None:
    server = start(serve, "jobs.py")
    with Connection(server.address) as connection:
        assert connection.request("POST", "/letters/ann").json() == {"accepted": "ann"}
    assert "letter to ann" not in server.stdout
    assert server.stop() == 0
    assert "letter to ann sent by slot" in server.stdout


def test_fastapi_is_served_as_it_is(serve: Serve) -> None:
    pytest.importorskip("fastapi", reason="NOT RUN: examples/fastapi_app.py, for want of fastapi")
    argv = [sys.executable, "-m", "aeros", "run", f"{EXAMPLES / 'fastapi_app.py'}:app", "-w", "2"]
    server = serve(argv=argv, env=PORT_0).ready(2)
    assert server.get("/items/3?q=red").json() == {"item": 3, "q": "red", "greeting": "hello"}
    assert server.get("/items/three").status == 422
    assert server.stop() == 0


def test_behind_nginx_knows_its_visitors(serve: Serve, tmp_path: Path) -> None:
    server = start(serve, "behind_nginx.py")
    place = f"127.0.0.1:{server.address[1]}"
    liar = b"GET / HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n\r\n"
    with nginx(place, place) as proxy, Connection(proxy.address) as connection:
        connection.send(liar)
        assert connection.read_answer().json() == {"visitor": "127.0.0.1", "link": "http://shop.example/"}
    assert server.stop() == 0


def test_websocket_is_told_of_a_reload_and_of_a_stop(serve: Serve) -> None:
    from websockets.exceptions import ConnectionClosed

    server = start(serve, "websocket.py")

    def reload() -> None:
        server.handle().reload()
        server.settled(2)  # a handshake that meets a worker on its way out is answered with 503

    for end, code in ((reload, 1012), (server.stop, 1001)):
        with open_websocket(server.address, "/echo") as client:
            client.send("hello")
            assert client.recv(10) == "hello"
            end()
            try:
                client.recv(10)
            except ConnectionClosed as closed:
                assert close_code(closed) == code
            else:
                raise AssertionError("the WebSocket was not closed")
    assert server.stdout.count("a WebSocket has ended") == 2


def test_websocket_example_streams_events(serve: Serve) -> None:
    server = serve(argv=[sys.executable, str(EXAMPLES / "websocket.py")], env=PORT_0 | {"AEROS_DRAIN_TIMEOUT": "1"})
    server.ready()
    with Connection(server.address) as connection:
        connection.send(connection.head("GET", "/events"))
        status, headers, _ = connection.read_head()
        assert status == 200
        assert headers["content-type"].startswith("text/event-stream")
        body = b""
        while b"data: 1" not in body:
            body += connection.read_some()
        assert b"id: 0\ndata: 0\n\n" in body
    assert server.stop() == 0


def test_tracing_exports_a_tree_of_spans_per_request_from_each_worker(serve: Serve, tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.instrumentation.asgi", reason="NOT RUN: examples/tracing.py, for want of it")
    path = tmp_path / "spans.jsonl"
    server = serve(argv=[sys.executable, str(EXAMPLES / "tracing.py")], env=PORT_0 | {"TRACES": str(path)}).ready()
    ids = {f"id-{number}" for number in range(20)}
    for request_id in sorted(ids):
        with Connection(server.address) as connection:
            answer = connection.request("GET", "/orders/7", headers={"X-Request-ID": request_id})
            assert answer.json()["order"] == 7
    pids = server.ready_pids()
    # The first half by a worker that a reload ends, at once: what its thread had not exported yet is not lost.
    server.handle().reload()
    assert server.get("/orders/8").status == 200
    assert server.stop() == 0
    spans = [json.loads(line) for line in path.read_text().splitlines()]
    requests = {span["context"]["span_id"]: span for span in spans if span["kind"] == "SpanKind.SERVER"}
    inner = [span for span in spans if span["name"] == "look it up"]
    assert len(requests) == len(inner) == 21
    for span in inner:
        parent = requests[span["parent_id"]]
        assert parent["context"]["trace_id"] == span["context"]["trace_id"]
        assert parent["resource"] == span["resource"]
    assert ids < {span["attributes"]["request.id"] for span in requests.values()}
    exporters = {span["resource"]["attributes"]["service.instance.id"].partition(".")[2] for span in spans}
    assert {str(pid) for pid in pids} < exporters and len(exporters) == 3
