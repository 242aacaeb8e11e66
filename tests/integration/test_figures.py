"""Latency, busy loops and accept queues in the status are what a client sees from outside."""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import ExitStack

import pytest

from tests.conftest import Serve
from tests.helpers.conditions import eventually
from tests.helpers.http import Connection
from tests.helpers.loops import EVERY_LOOP
from tests.helpers.wsclient import open_websocket


@pytest.mark.parametrize("http", ["lane", "hypercorn"])
def test_every_request_is_in_the_histogram_and_no_websocket_is(serve: Serve, http: str) -> None:
    server = serve("full", "-w", "1", "--http", http).ready(1)
    for _ in range(20):
        assert server.get("/").status == 200
    for _ in range(5):
        assert server.get("/slow?s=0.15").status == 200
    with open_websocket(server.address) as websocket:
        websocket.recv(timeout=5)
    eventually(lambda: server.status().totals.latency.count == 25, 5)
    (worker,) = server.workers()
    latency = worker.latency
    assert latency.counts == server.status().totals.latency.counts
    slow = sum(count for bound, count in zip(latency.bounds_s, latency.counts[1:], strict=True) if bound >= 0.128)
    assert slow == 5
    assert 0.1 < latency.quantile(0.95) < 0.4
    assert latency.quantile(0.5) < 0.1
    assert 0.75 < latency.sum_s < 3
    eventually(lambda: server.workers()[0].websockets == 0, 5)
    assert server.status().totals.websockets == 1
    os.kill(worker.pid, signal.SIGKILL)
    server.expect(r"worker slot=\d")
    eventually(lambda: server.ready_pids() - {worker.pid}, 10)
    assert server.status().totals.latency == latency, "what a worker counted outlives it"
    assert server.stop() == 0


@EVERY_LOOP
def test_a_busy_loop_shows(serve: Serve, loop: str) -> None:
    server = serve("full", "-w", "1", "-k", loop).ready(1)

    def busy() -> float:
        return float(server.workers()[0].loop_busy)

    eventually(lambda: busy() < 0.3, 10, "an idle loop is not busy")
    with Connection(server.address) as connection:
        connection.send(connection.head("GET", "/block?s=3"))
        eventually(lambda: busy() == 1.0 and server.workers()[0].loop_lag_s > 0.2, 3, "busy while it is blocked")
        assert connection.read_answer().status == 200
    eventually(lambda: busy() < 0.3, 10, "idle again")
    assert server.stop() == 0


def test_half_busy_is_about_half(serve: Serve) -> None:
    """A handler that sleeps in the loop uses no processor, but the loop is busy all the same."""
    server = serve("full", "-w", "1").ready(1)
    seen = []
    for _ in range(8):
        server.get("/block?s=0.1")
        server.get("/slow?s=0.1")
        seen.append(server.workers()[0].loop_busy)
    assert any(0.25 < busy < 0.8 for busy in seen), seen
    assert server.stop() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_connections_that_wait_show(serve: Serve) -> None:
    server = serve("full", "-w", "1", "--backlog", "50", "--worker-timeout", "60").ready(1)
    (queue,) = server.status().accept_queue
    assert (queue.address, queue.length, queue.limit) == (server.status().addresses[0], 0, 50)
    with ExitStack() as stack, Connection(server.address) as connection:
        connection.send(connection.head("GET", "/block?s=4"))
        eventually(lambda: server.workers()[0].in_flight, 5)
        for _ in range(5):
            stack.enter_context(socket.create_connection(server.address[:2]))
        eventually(lambda: server.status().accept_queue[0].length == 5, 3, "five wait")
        assert connection.read_answer().status == 200
    eventually(lambda: server.status().accept_queue[0].length == 0, 5, "none waits")
    assert server.stop() == 0
