"""--slow-request and --loop-warn: what takes long or blocks is logged once, with where it is, and goes on."""

from __future__ import annotations

import re
from contextlib import ExitStack

import pytest

from tests.conftest import Serve
from tests.helpers.conditions import eventually
from tests.helpers.http import Connection
from tests.helpers.loops import EVERY_LOOP


@pytest.mark.parametrize("http", ["lane", "hypercorn"])
def test_a_slow_request_is_logged_once_and_answered(serve: Serve, http: str) -> None:
    server = serve("full", "-w", "1", "--slow-request", "300ms", "--http", http).ready(1)
    server.expect("slow request")
    with ExitStack() as stack:
        for _ in range(5):
            assert server.get("/slow?s=0.1").status == 200
        one, two = (stack.enter_context(Connection(server.address)) for _ in range(2))
        one.send(one.head("GET", "/slow?s=1.5&token=secret", headers={"X-Request-ID": "abc"}))
        two.send(two.head("GET", "/slow?s=0.8"))
        assert one.read_answer().status == 200
        assert two.read_answer().status == 200
    server.wait_log(
        r"worker slot=0 gen=1 pid=\d+: slow request, longer than 300 ms: GET /slow \(0\.\d s, from \S+, id abc\)", 5
    )
    server.wait_log(r'File ".*app.py", line \d+, in slow\n\s+await asyncio.sleep', 5)
    assert len(re.findall("slow request, longer", server.log)) == 2
    assert "secret" not in server.log
    assert server.stop() == 0


@EVERY_LOOP
def test_a_blocked_loop_is_logged_once_and_goes_on(serve: Serve, loop: str) -> None:
    server = serve("full", "-w", "2", "-k", loop, "--loop-warn", "200ms").ready(2)
    server.expect("has stood still")
    before = server.ready_pids()
    assert server.get("/block?s=0.1").status == 200
    with Connection(server.address) as connection:
        connection.send(connection.head("GET", "/block?s=2"))
        server.wait_log(r"has stood still for \d+ ms; it runs GET /block \(0\.\d s, from", 1.5)
        assert connection.read_answer().status == 200
    server.wait_log(r"in block\n\s+time\.sleep", 5)
    server.wait_log(r"its event loop turns again, after about (1\.[5-9]|2(\.\d)?) s", 5)
    assert len(re.findall("has stood still", server.log)) == 1
    assert server.ready_pids() == before
    assert server.stop() == 0


@pytest.mark.slow
def test_a_loop_blocked_in_c_is_logged_with_what_is_in_flight(serve: Serve) -> None:
    server = serve("full", "-w", "1", "--loop-warn", "300ms", "--worker-timeout", "4").ready(1)
    server.expect("has stood still", r"worker slot=\d", "Fatal Python error")
    (pid,) = server.ready_pids()
    with Connection(server.address) as connection:
        connection.send(connection.head("GET", "/sum"))
        server.wait_log(r"has stood still for \d+ ms; in flight: GET /sum \(\d\.\d s\)", 5)
        server.wait_log(r"in summing", 5)
        eventually(lambda: server.ready_pids() - {pid}, 15, "a replacement, by --worker-timeout")
    assert len(re.findall("has stood still", server.log)) == 1
    assert server.stop() == 0


def test_without_the_options_nothing_is_said(serve: Serve) -> None:
    server = serve("full", "-w", "1").ready(1)
    assert server.get("/block?s=1.2").status == 200
    assert server.get("/slow?s=0.5").status == 200
    assert "stood still" not in server.log
    assert "slow request" not in server.log
    assert server.stop() == 0
