"""The requests in flight, as `server.requests()`, the status, the command and a handler show them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.helpers.conditions import eventually
from tests.helpers.h2client import websocket_opening
from tests.helpers.http import Connection
from tests.helpers.serverproc import ServerProcess, environment
from tests.helpers.wsclient import open_websocket


def command(server: ServerProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "aeros", *arguments],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env=environment(server.runtime_dir, server.marker),
    )


@pytest.mark.parametrize("http", ["lane", "hypercorn"])
def test_each_request_is_shown_with_what_it_is_and_how_far(serve: Serve, tmp_path: Path, http: str) -> None:
    server = serve("full", "-w", "2", "--http", http).ready(2)
    handle = server.handle()
    assert handle.requests() == ()
    assert command(server, "requests", str(server.pid)).stdout == "no request is in flight\n"
    over = tmp_path / "over"
    with ExitStack() as stack:
        begun = time.monotonic()
        held, upload, stream = (stack.enter_context(Connection(server.address)) for _ in range(3))
        held.send(held.head("GET", f"/held?until={over}&token=secret", headers={"X-Request-ID": "one-two"}))
        upload.send(upload.head("POST", "/upload", 10) + b"12345")
        stream.send(stream.head("GET", "/sse"))

        def shown() -> dict[str, str]:
            return {request.path: request.stage for request in handle.requests()}

        wanted = {"/held": "handling", "/upload": "reading", "/sse": "streaming"}
        eventually(lambda: shown() == wanted, what=f"{wanted}, not {shown()}")
        (found,) = [request for request in handle.requests() if request.path == "/held"]
        owner = {worker.pid: worker for worker in server.workers()}[found.pid]
        assert (found.method, found.slot, found.generation) == ("GET", owner.slot, owner.generation)
        assert found.client == "{}:{}".format(*held.socket.getsockname()[:2])
        assert 0 < found.age_s <= time.monotonic() - begun + 0.1
        eventually(lambda: [one.request_id for one in handle.requests() if one.path == "/held"] == ["one-two"])
        ages = [one.age_s for one in handle.requests()]
        assert ages == sorted(ages, reverse=True)
        in_status = [one.path for worker in server.workers() for one in worker.requests_in_flight]
        assert sorted(in_status) == sorted(wanted)
        inside = {one["path"] for one in server.get("/requests").json()["requests"]}
        assert inside == {*wanted, "/requests"}
        listed = json.loads(command(server, "requests", str(server.pid), "--json").stdout)
        assert {one["path"]: one["stage"] for one in listed} == wanted
        page = command(server, "requests", str(server.pid)).stdout
        assert "GET /held" in page
        assert "one-two" in page
        assert "secret" not in page
        upload.send(b"67890")
        assert upload.read_answer().status == 200
        over.touch()
        assert held.read_answer().status == 200
        eventually(lambda: shown() == {"/sse": "streaming"}, what=f"the stream alone, not {shown()}")
    eventually(lambda: handle.requests() == (), what="nothing in flight")
    assert server.stop() == 0


@pytest.mark.parametrize(("path", "http"), [("/block", "lane"), ("/regex", "lane"), ("/regex", "hypercorn")])
def test_a_stuck_worker_shows_the_request_that_runs(serve: Serve, path: str, http: str) -> None:
    server = serve("full", "-w", "1", "--worker-timeout", "60", "--http", http).ready(1)
    server.expect(r"worker slot=\d", "Fatal Python error", "kill")
    with Connection(server.address) as connection:
        connection.send(connection.head("GET", path))
        eventually(lambda: [one.path for one in server.handle().requests()] == [path])
        first = server.handle().requests()[0].age_s
        eventually(lambda: server.handle().requests()[0].age_s > first + 0.5, what="it grows older")
    (worker,) = server.workers()
    os.kill(worker.pid, signal.SIGKILL)
    eventually(lambda: server.ready_pids() - {worker.pid}, 10)
    assert server.handle().requests() == (), "nothing is left of the one that was killed"
    assert server.stop() == 0


def test_more_requests_than_the_table_holds(serve: Serve) -> None:
    server = serve("full", "-w", "1").ready(1)
    with ExitStack() as stack:
        for _ in range(60):
            connection = stack.enter_context(Connection(server.address))
            connection.send(connection.head("GET", "/slow?s=60"))
        eventually(lambda: server.workers()[0].in_flight == 60)
        assert len(server.handle().requests()) == 51
        assert len(server.workers()[0].requests_in_flight) == 8
        assert command(server, "requests", str(server.pid)).stdout.endswith("and 9 more requests\n")
    server.send_signal(signal.SIGQUIT)
    server.wait_exit(10)


@pytest.mark.parametrize("http", ["lane", "hypercorn"])
def test_websockets_are_shown_and_are_no_requests(serve: Serve, tmp_path: Path, http: str) -> None:
    server = serve("full", "-w", "1", "--http", http, "--slow-request", "0.3").ready(1)
    server.expect("slow request")
    with ExitStack() as stack:
        headers = {"X-Request-ID": "one-two"}
        websocket = stack.enter_context(open_websocket(server.address, "/ws?token=secret", headers=headers))
        websocket.recv(timeout=10)
        two = stack.enter_context(Connection(server.address))
        two.send(websocket_opening())

        def found() -> list[tuple[str, str, str, str, bool]]:
            every = server.handle().requests()
            return [(one.method, one.path, one.stage, one.request_id, one.websocket) for one in every]

        wanted = [("WS", "/ws", "open", "one-two", True), ("WS", "/ws", "open", "over-h2", True)]
        eventually(lambda: found() == wanted, what=f"{wanted}, not {found()}")
        first, second = server.handle().requests()
        assert first.client == "{}:{}".format(*websocket.local_address[:2])
        assert second.client == "{}:{}".format(*two.socket.getsockname()[:2])
        (worker,) = server.workers()
        assert (worker.in_flight, worker.websockets) == (0, 2)
        assert [one.method for one in worker.requests_in_flight] == ["WS", "WS"]
        over = tmp_path / "over"
        with Connection(server.address) as held:
            held.send(held.head("GET", f"/held?until={over}"))
            eventually(lambda: [one.path for one in server.handle().requests()] == ["/held", "/ws", "/ws"])
            assert server.workers()[0].in_flight == 1
            server.wait_log("slow request")
            over.touch()
            assert held.read_answer().status == 200
        listed = json.loads(command(server, "requests", str(server.pid), "--json").stdout)
        assert [(one["method"], one["websocket"]) for one in listed] == [("WS", True), ("WS", True)]
        page = command(server, "requests", str(server.pid)).stdout
        assert page.count("WS /ws") == 2
        assert "secret" not in page
        websocket.close()
        eventually(lambda: found() == wanted[1:], what=f"the second alone, not {found()}")
    eventually(lambda: server.handle().requests() == (), what="no WebSocket is left")
    slow_ones = [line for line in server.log.splitlines() if "slow request" in line]
    assert len(slow_ones) == 1, slow_ones
    assert "GET /held" in slow_ones[0]
    assert server.stop() == 0


def test_more_websockets_than_the_table_holds(serve: Serve) -> None:
    server = serve("full", "-w", "1").ready(1)
    with ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(open_websocket(server.address))
        for _ in range(3):
            connection = stack.enter_context(Connection(server.address))
            connection.send(connection.head("GET", "/slow?s=60"))
        eventually(lambda: server.workers()[0].in_flight == 3)
        shown = server.handle().requests()
        assert [one.websocket for one in shown] == [False] * 3 + [True] * 51
        assert [one.method for one in server.workers()[0].requests_in_flight] == ["GET"] * 3 + ["WS"] * 5
        assert command(server, "requests", str(server.pid)).stdout.endswith("and 9 more WebSockets\n")
    server.send_signal(signal.SIGQUIT)
    server.wait_exit(10)


def test_a_websocket_that_blocks_the_loop_is_named(serve: Serve) -> None:
    server = serve("full", "-w", "1", "--worker-timeout", "60").ready(1)
    headers = {
        "connection": "upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    with Connection(server.address) as connection:
        # The answer may wait until the loop goes on (with a Quart that is served by its own code).
        connection.send(connection.head("GET", "/ws-block", headers=headers))
        eventually(lambda: server.handle().stack(0).running.startswith("WS /ws-block ("))
    server.send_signal(signal.SIGQUIT)
    server.wait_exit(10)
