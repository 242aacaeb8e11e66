"""More workers and fewer, by signal, from Python and from the command line, with nothing dropped."""

from __future__ import annotations

import signal

import pytest

from tests.conftest import Serve
from tests.helpers.conditions import Watch, eventually
from tests.helpers.load import MIXED, Load


def test_ttin_and_ttou(serve: Serve) -> None:
    server = serve("full", "-w", "2").ready(2)
    server.expect("SIGTTOU ignored")
    for number, wanted in [
        (signal.SIGTTIN, 3),
        (signal.SIGTTIN, 4),
        (signal.SIGTTOU, 3),
        (signal.SIGTTOU, 2),
    ]:
        server.send_signal(number)
        eventually(lambda wanted=wanted: server.status().target_workers == wanted, 5)
        server.settled()
        assert [worker.slot for worker in server.workers()] == list(range(wanted))
    server.send_signal(signal.SIGTTOU)
    server.settled()
    server.send_signal(signal.SIGTTOU)
    server.get()
    eventually(lambda: server.status().target_workers == 1, 5, "never fewer than one")
    server.settled()
    assert server.stop() == 0


def test_scaling_under_load_drops_nothing(serve: Serve) -> None:
    server = serve("full", "-w", "2").ready(2)
    with Load(server.address, MIXED) as tally:
        for wanted in (6, 1, 3):
            low = min(wanted, len(server.ready_pids()))
            with Watch(lambda: len(server.ready_pids()), pause_s=0.02) as ready:
                server.handle().scale(wanted)
                eventually(lambda wanted=wanted: server.status().target_workers == wanted, 5)
                server.settled()
            assert min(ready.values) >= low  # type: ignore[type-var]
            done = tally.ok
            eventually(lambda done=done: tally.ok > done + 30, 10, "requests at the new size")
    tally.assert_nothing_failed(at_least=30)
    assert server.stop() == 0


def test_the_new_size_survives_a_reload(serve: Serve) -> None:
    server = serve("full", "-w", "1").ready(1)
    server.handle().scale(3)
    server.settled()
    server.handle().reload(timeout=30)
    assert len(server.settled().workers) == 3
    assert server.stop() == 0


def test_from_the_command_line(serve: Serve) -> None:
    server = serve("full", "-w", "1").ready(1)
    done = server.command("scale", str(server.pid), "3")
    assert done.returncode == 0, done.stderr
    eventually(lambda: len(server.ready_pids()) == 3, 10)
    refused = server.command("scale", str(server.pid), "0")
    assert refused.returncode in (1, 2)
    assert refused.stderr.strip()
    assert "Traceback" not in refused.stderr
    assert len(server.settled().workers) == 3
    assert server.stop() == 0


@pytest.mark.parametrize("wrong", [0, -1, 100000, "three", 2.5, True])
def test_a_wrong_size_is_refused_and_the_server_unharmed(serve: Serve, wrong: object) -> None:
    import aeros

    server = serve("full", "-w", "1").ready(1)
    with pytest.raises((aeros.AerosError, ValueError, TypeError)):
        server.handle().scale(wrong)
    assert server.status().target_workers == 1
    assert server.stop() == 0
