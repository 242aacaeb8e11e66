"""Signals that reach the wrong process, or in unusual states of the program, do no harm."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.helpers import proc
from tests.helpers.conditions import eventually, stays
from tests.helpers.load import KeepAliveGet, Load, NewConnectionGet


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_workers_and_zygote_ignore_what_is_the_supervisors_to_decide(serve: Serve, number: int) -> None:
    """`pkill -HUP`, or a terminal's Ctrl+C to the group: only the supervisor acts on it."""
    server = serve("full", "-w", "2").ready(2)
    before = server.complete(2)
    with Load(server.address, (KeepAliveGet, NewConnectionGet)) as tally:
        for pid in before - {server.pid}:
            os.kill(pid, number)
        stays(lambda: server.family == before, 1.0, "nobody left and nobody came")
    tally.assert_nothing_failed()
    assert server.status().generation == 1
    assert server.stop() == 0


def test_hup_to_the_whole_group_is_one_reload(serve: Serve) -> None:
    server = serve("full", "-w", "2").ready(2)
    with Load(server.address, (KeepAliveGet, NewConnectionGet)) as tally:
        os.killpg(server.pid, signal.SIGHUP)
        server.settled(2)
    tally.assert_nothing_failed()
    assert server.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_to_the_whole_group_is_graceful(serve: Serve, number: int) -> None:
    """systemd's KillMode=control-group, or Ctrl+C: each worker hears it twice, and finishes its work."""
    from tests.helpers.http import Connection

    server = serve("full", "-w", "2", "--drain-timeout", "10").ready(2)
    with Connection(server.address) as connection:
        connection.send(connection.head("GET", "/slow?s=1"))
        eventually(lambda: sum(worker.in_flight for worker in server.workers()) == 1, 5)
        os.killpg(server.pid, number)
        assert connection.read_answer().status == 200
    assert server.wait_exit() == 0


def test_term_to_one_worker_is_a_worker_that_left(serve: Serve) -> None:
    """Whoever sends it: the worker is replaced and the service goes on."""
    server = serve("full", "-w", "2").ready(2)
    server.expect(r"worker slot=\d")
    victim = min(server.ready_pids())
    os.kill(victim, signal.SIGTERM)
    eventually(lambda: victim not in server.family, 10)
    eventually(lambda: len(server.ready_pids() - {victim}) == 2, 10)
    assert server.stop() == 0


def test_harmless_signals_to_the_supervisor(serve: Serve) -> None:
    server = serve("full", "-w", "1").ready(1)
    before = server.ready_pids()
    for number in 5 * [signal.SIGPIPE, signal.SIGCHLD, signal.SIGWINCH, signal.SIGURG, signal.SIGCONT]:
        server.send_signal(number)
    stays(lambda: server.ready_pids() == before, 0.5)
    assert server.stop() == 0


def test_inherited_masks_and_dispositions_are_put_right(serve: Serve) -> None:
    """Catalogue 49: started by something that blocks and ignores signals and closes standard input."""

    def unfriendly() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1})
        os.close(0)

    server = serve("full", "-w", "2", preexec=unfriendly).ready(2)
    server.expect(r"worker slot=\d")
    victim = min(server.ready_pids())
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: len(server.ready_pids() - {victim}) == 2, 10, "its death was noticed")
    assert not proc.zombies(server.family)
    blocked = [
        line for line in Path(f"/proc/{max(server.ready_pids())}/status").read_text().splitlines() if "SigBlk" in line
    ]
    assert int(blocked[0].split()[1], 16) & ((1 << 14) | (1 << 16)) == 0, "TERM or CHLD blocked in a worker"
    assert server.stop() == 0


def test_a_storm_of_signals_ends_where_the_last_stop_says(serve: Serve) -> None:
    server = serve("full", "-w", "2").ready(2)
    server.expect("SIGTTOU ignored")  # pending signals of one kind merge, so more may shrink than grow
    for _ in range(30):
        for number in (signal.SIGTTIN, signal.SIGTTOU, signal.SIGHUP, signal.SIGUSR1):
            server.send_signal(number)
    threading.Event().wait(0.3)  # let some of it begin
    assert server.stop(signal.SIGTERM, 15) == 0
    server.family_gone(0.5)
