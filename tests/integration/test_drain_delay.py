"""`--drain-delay`: a server told to stop says so first, and goes on serving until its balancer has noticed."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.conftest import Serve
from tests.helpers.conditions import eventually
from tests.helpers.http import Connection, Refused, get
from tests.helpers.load import KeepAliveGet, Load, NewConnectionGet, Outcome
from tests.helpers.serverproc import ServerProcess

DELAY_S = 1.5


def draining(server: ServerProcess) -> None:
    eventually(lambda: server.status().state == "draining", 5, "the state says draining")


@pytest.mark.parametrize("http", ["lane", "hypercorn"])
def test_connections_are_served_and_told_to_close_until_the_delay_is_over(serve: Serve, http: str) -> None:
    server = serve("full", "-w", "2", "--http", http, "--drain-delay", f"{DELAY_S}s").ready(2)
    with Connection(server.address) as before:
        assert not before.request("GET", "/").says_close
        begun = time.monotonic()
        server.send_signal(signal.SIGTERM)
        draining(server)
        answers = [before.request("GET", "/")]
        while time.monotonic() < begun + DELAY_S - 0.5:
            answers.append(get(server.address, "/"))  # a new connection each
        with Connection(server.address) as upload:
            answers.append(upload.request("POST", "/upload", b"x" * 1000))
    assert {answer.status for answer in answers} == {200}
    assert all(answer.says_close for answer in answers)
    assert server.wait_exit() == 0
    assert time.monotonic() - begun >= DELAY_S
    with pytest.raises(Refused):
        Connection(server.address)
    assert "accepting connections for 1.5" in server.log


def test_nothing_is_lost_before_the_listener_closes(serve: Serve) -> None:
    server = serve("full", "-w", "2", "--drain-delay", f"{DELAY_S}s").ready(2)
    with Load(server.address, (KeepAliveGet, NewConnectionGet)) as tally:
        begun = time.monotonic()
        server.send_signal(signal.SIGTERM)
        server.wait_log("the drain delay is over")
    early = [record for record in tally.failures if record.ended < begun + DELAY_S]
    assert not early, early[:5]
    assert sum(record.begun > begun for record in tally.records) > 50
    assert server.wait_exit() == 0


def test_nobody_is_connected_and_then_reset_when_the_listener_closes(serve: Serve) -> None:
    """A balancer tries the next instance where one refuses; a POST that was reset it cannot send again."""
    server = serve("full", "-w", "2", "--drain-delay", "0.3s").ready(2)
    with Load(server.address, [NewConnectionGet] * 6, pause_s=0) as tally:
        eventually(lambda: tally.ok > 100, 20, "some answers")
        server.send_signal(signal.SIGTERM)
        assert server.wait_exit() == 0
        eventually(lambda: bool(tally.failures), 10, "somebody is refused")
    assert {record.outcome for record in tally.failures} == {Outcome.REFUSED}, tally.summary()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_cuts_it_short_and_is_still_graceful(serve: Serve, number: int) -> None:
    server = serve("full", "-w", "1", "--drain-delay", "60s").ready(1)
    with Connection(server.address) as connection:
        connection.send(connection.head("GET", "/slow?s=0.5"))
        eventually(lambda: server.workers()[0].in_flight == 1, 5)
        server.send_signal(signal.SIGTERM)
        draining(server)
        server.send_signal(number)
        assert connection.read_answer().status == 200
    assert server.wait_exit(10) == 0


def test_quit_does_not_wait(serve: Serve) -> None:
    server = serve("full", "-w", "1", "--drain-delay", "60s").ready(1)
    server.send_signal(signal.SIGTERM)
    draining(server)
    server.stop(signal.SIGQUIT, 5)


def test_a_worker_that_dies_meanwhile_is_replaced_and_the_new_one_says_close(serve: Serve) -> None:
    server = serve("full", "-w", "1", "--drain-delay", "60s").ready(1)
    server.expect(r"worker slot=0")
    (victim,) = server.workers()
    server.send_signal(signal.SIGTERM)
    draining(server)
    os.kill(victim.pid, signal.SIGKILL)
    eventually(lambda: any(w.pid != victim.pid and w.state == "ready" for w in server.workers()), 10)
    answer = get(server.address, "/")
    assert answer.json()["pid"] != victim.pid
    assert answer.says_close
    refused = server.command("reload")
    assert refused.returncode != 0
    assert "stopping" in refused.stderr
    server.send_signal(signal.SIGTERM)
    assert server.wait_exit(10) == 0


SLOW_START = """
import asyncio, sys
from aeros import WebServer

app = WebServer(__name__)

@app.before_serving
async def wait():
    await asyncio.sleep(60)

if __name__ == "__main__":
    app.start(sys.argv[1:])
"""


def test_a_server_that_never_was_ready_does_not_wait(serve: Serve) -> None:
    server = serve(SLOW_START, "-w", "1", "--drain-delay", "60s")
    eventually(server.control_path.exists, 10, "the control socket")
    assert server.status().state == "starting"
    server.send_signal(signal.SIGTERM)
    server.wait_exit(10)
