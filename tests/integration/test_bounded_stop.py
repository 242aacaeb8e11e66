"""Acceptance 7: a stop ends within the configured total, whatever the app does, on every loop and Python."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from contextlib import ExitStack

import pytest

from tests.conftest import Serve
from tests.helpers import log, proc
from tests.helpers.conditions import eventually
from tests.helpers.http import Connection, ExchangeError, Refused
from tests.helpers.load import Load, NewConnectionGet, SlowGet
from tests.helpers.loops import EVERY_LOOP
from tests.helpers.serverproc import ServerProcess
from tests.helpers.wsclient import EchoClient

PYTHONS = [sys.executable, *filter(None, os.environ.get("AEROS_TEST_PYTHONS", "").split(os.pathsep))]

DRAIN_S, SHUTDOWN_S = 0.5, 0.5
#: The supervisor's last resort (1 s and the stacks), and what a machine under a load of 16 needs to end a family.
SLACK_S = 5.0
LIMITS = ["--drain-timeout", f"{DRAIN_S:g}", "--shutdown-timeout", f"{SHUTDOWN_S:g}"]

every_python = pytest.mark.parametrize("python", PYTHONS, ids=[f"python{n}" for n in range(len(PYTHONS))])


def stop_in_time(server: ServerProcess) -> tuple[int, float]:
    """Exit code and seconds of a stop; nothing may be left of the family when the supervisor has ended."""
    begun = time.monotonic()
    code = server.stop(signal.SIGTERM, DRAIN_S + SHUTDOWN_S + SLACK_S)
    took = time.monotonic() - begun
    server.family_gone(0.5)
    return code, took


def hold(server: ServerProcess, stack: ExitStack, path: str) -> Connection:
    """A connection with a request under way in some worker."""
    busy = sum(worker.in_flight for worker in server.workers())
    connection = stack.enter_context(Connection(server.address))
    connection.send(connection.head("GET", path))
    eventually(lambda: sum(worker.in_flight for worker in server.workers()) > busy, 5, "the request in flight")
    return connection


@every_python
@EVERY_LOOP
def test_an_endless_stream(serve: Serve, loop: str, python: str) -> None:
    server = serve("full", "-w", "1", "-k", loop, *LIMITS, python=python).ready(1)
    server.expect("drain", "cut", r"worker slot=")
    with ExitStack() as stack:
        stream = hold(server, stack, "/sse")
        stream.read_head()
        assert stream.read_some()
        code, _ = stop_in_time(server)
    assert code == 0, "a stream that is cut at the drain limit is no kill"
    assert re.search(r"the time to drain is over; cut: GET /sse \([\d.]+ s\)", server.log)
    assert log.tracebacks(server.log) == 0


@every_python
@EVERY_LOOP
def test_an_idle_websocket_is_told_and_costs_no_time(serve: Serve, loop: str, python: str) -> None:
    server = serve("full", "-w", "1", "-k", loop, "--drain-timeout", "10", python=python).ready(1)
    with EchoClient(server.address, pause_s=0.2) as echo:
        begun = time.monotonic()
        assert server.stop() == 0
        took = time.monotonic() - begun
        eventually(lambda: echo.codes == [1001], 5, f"1001, not {echo.codes}")
    assert took < 5, "a WebSocket that answers the close holds nothing up"
    assert log.tracebacks(server.log) == 0


@every_python
@EVERY_LOOP
def test_a_handler_that_blocks_the_loop(serve: Serve, loop: str, python: str) -> None:
    server = serve("full", "-w", "2", "-k", loop, *LIMITS, python=python).ready(2)
    server.expect(r"worker slot=\d", "kill", "Fatal Python error")
    with ExitStack() as stack:
        hold(server, stack, "/block?s=60")
        code, _ = stop_in_time(server)
    assert code == 5, "it had to be killed, and the exit code says so"


@every_python
@EVERY_LOOP
@pytest.mark.parametrize("how", ["hang", "block", "raise"])
def test_an_after_serving_that_fails(serve: Serve, loop: str, python: str, how: str) -> None:
    server = serve("full", "-w", "2", "-k", loop, *LIMITS, python=python, env={"TESTAPP_AFTER_SERVING": how}).ready(2)
    server.expect("")
    code, _ = stop_in_time(server)
    assert code != 0, "a lifespan shutdown that did not end well is no clean exit"
    if how == "block":
        assert code == 5
    if how == "raise":
        assert "after_serving is broken on purpose" in server.log


@every_python
@EVERY_LOOP
def test_everything_at_once(serve: Serve, loop: str, python: str) -> None:
    server = serve("full", "-w", "3", "-k", loop, *LIMITS, python=python, env={"TESTAPP_AFTER_SERVING": "hang"}).ready(
        3
    )
    server.expect("")
    with ExitStack() as stack:
        stack.enter_context(EchoClient(server.address))
        hold(server, stack, "/sse")
        hold(server, stack, "/block?s=60")
        code, _ = stop_in_time(server)
    assert code == 5


def test_the_outcomes_around_a_stop_come_in_order(serve: Serve) -> None:
    """Puma's rule: success first, then refused, never mixed.

    A connection the kernel took between the last accept() and the close() is reset: no system call does both at
    once. That may happen to the one connection each client opens at that moment, and to no request before it.
    """
    server = serve("full", "-w", "2").ready(2)
    with Load(server.address, (NewConnectionGet, NewConnectionGet, SlowGet)) as tally:
        eventually(lambda: tally.ok > 50, 20)
        assert server.stop() == 0
        eventually(lambda: any(failure.outcome == "refused" for failure in tally.failures), 5)
    failures = sorted(tally.failures, key=lambda failure: failure.begun)
    resets = [failure for failure in failures if failure.outcome == "reset"]
    assert {failure.outcome for failure in failures} <= {"refused", "reset"}, tally.summary()
    assert len(resets) <= 2, tally.summary()
    last_ok = max(record.begun for record in tally.records if record.outcome == "ok")
    assert last_ok < failures[0].begun + 0.05
    assert all(reset.begun < failures[0].begun + 0.05 for reset in resets), "a reset among refusals"


def test_what_the_kernel_had_accepted_is_served(serve: Serve) -> None:
    server = serve("full", "-w", "1", "--drain-timeout", "10").ready(1)
    with ExitStack() as stack:
        hold(server, stack, "/block?s=1.5")
        waiting = [stack.enter_context(Connection(server.address)) for _ in range(5)]
        for connection in waiting:
            connection.send(connection.head("GET", "/"))
        server.send_signal(signal.SIGTERM)
        answers = [connection.read_answer() for connection in waiting]
    assert [answer.status for answer in answers] == [200] * 5
    assert server.wait_exit() == 0


def test_new_connections_are_refused_at_once_while_it_drains(serve: Serve) -> None:
    server = serve("full", "-w", "2", "--drain-timeout", "10").ready(2)
    address = server.address
    with ExitStack() as stack:
        held = hold(server, stack, "/slow?s=2")
        server.send_signal(signal.SIGTERM)

        def refused() -> bool:
            try:
                Connection(address, 1).close()
            except Refused:
                return True
            return False

        eventually(refused, 1.0, "refused while draining")
        assert server.popen.poll() is None
        assert held.read_answer().status == 200
    assert server.wait_exit() == 0


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_signals_that_come_together_are_one(serve: Serve, second: int) -> None:
    """Ctrl+C in a terminal, and the process manager that passes it on: nobody loses a request."""
    server = serve("full", "-w", "1", "--drain-timeout", "60").ready(1)
    with Connection(server.address) as held:
        held.send(held.head("GET", "/slow?s=1"))
        eventually(lambda: server.workers()[0].in_flight == 1, 5)
        for number in (signal.SIGTERM, second, signal.SIGTERM):
            server.send_signal(number)
            time.sleep(0.004)
        assert held.read_answer().status == 200
    assert server.wait_exit() == 0
    assert "stopping now" not in server.log


def test_a_second_signal_means_now(serve: Serve) -> None:
    server = serve("full", "-w", "2", "--drain-timeout", "60", "--shutdown-timeout", "60").ready(2)
    server.expect("")
    with ExitStack() as stack:
        hold(server, stack, "/slow?s=60")
        hold(server, stack, "/block?s=60")
        server.send_signal(signal.SIGTERM)
        server.wait_log("stopping")
        begun = time.monotonic()
        server.send_signal(signal.SIGTERM)
        server.wait_exit(5)
        assert time.monotonic() - begun < 5
    # What was cut by it, and the line in which it stood: one that awaits, one that blocks its loop.
    assert re.search(r"is ended with GET /slow \([\d.]+ s\)", server.log)
    assert re.search(r"is ended with GET /block \([\d.]+ s\)", server.log)
    assert "in slow\n" in server.log
    assert "in block\n" in server.log
    server.family_gone(0.5)


def test_quit_means_now_at_once(serve: Serve) -> None:
    server = serve("full", "-w", "2", "--drain-timeout", "60").ready(2)
    server.expect("")
    with ExitStack() as stack:
        hold(server, stack, "/slow?s=60")
        begun = time.monotonic()
        server.stop(signal.SIGQUIT, 5)
        assert time.monotonic() - begun < 5
    server.family_gone(0.5)


def test_stop_from_the_command_line_waits_for_the_end(serve: Serve) -> None:
    server = serve("full", "-w", "2").ready(2)
    done = server.command("stop", str(server.pid))
    assert done.returncode == 0, done.stderr
    assert server.wait_exit(2) == 0
    with pytest.raises(ExchangeError):
        Connection(server.address)


@pytest.mark.slow  # ten seconds of waiting; the model in tests/component has the same without
def test_a_stopped_zygote_does_not_hold_a_stop_up(serve: Serve) -> None:
    """Its workers end and nobody reaps them: the supervisor ends the zygote, and reaps them itself."""
    server = serve("full", "-w", "2", *LIMITS).ready(2)
    server.complete(2)
    server.expect(r"has not reported the end of worker slot=", r"zygote gen=1")
    (zygote,) = {proc.parent(worker.pid) for worker in server.workers()}
    os.kill(zygote, signal.SIGSTOP)
    begun = time.monotonic()
    code = server.stop(signal.SIGTERM, 25.0)
    assert code == 0
    assert 10.0 < time.monotonic() - begun < DRAIN_S + SHUTDOWN_S + 10.0 + 5.0
    server.family_gone(0.5)
