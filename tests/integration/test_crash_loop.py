"""A worker that dies again and again is tried ever less often, others go on, and it can heal."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.apps import source_of
from tests.conftest import Serve
from tests.helpers.conditions import eventually
from tests.helpers.load import Load, NewConnectionGet
from tests.helpers.serverproc import ServerProcess

EXPECTED = (r"worker slot=\d", "(?i)slot", "(?i)crash", "(?i)back", "(?i)failed")


def starts(server: ServerProcess) -> int:
    return server.log.count(" ready in ")


def is_failed(server: ServerProcess) -> bool:
    return any(slot.state == "failed" for slot in server.status().slots)


def test_a_crash_loop_backs_off_gives_up_visibly_and_heals_on_reload(serve: Serve, tmp_path: Path) -> None:
    sick = tmp_path / "sick"
    server = serve("dying", "-w", "1", env={"TESTAPP_SICK": str(sick)}).ready(1)
    server.expect(*EXPECTED)
    sick.touch()
    server.handle().restart(slot=0)
    eventually(lambda: is_failed(server), 60, "the slot shown as failed")
    at = starts(server)
    threading.Event().wait(3)  # a rate is measured over a time
    assert starts(server) - at <= 1, "a failed slot is tried only now and then"
    assert server.popen.poll() is None
    sick.unlink()
    server.handle().reload(timeout=30)
    server.settled()
    assert not is_failed(server)
    assert server.get().status == 200
    assert server.stop() == 0


def one_ill_slot(serve: Serve, sick: Path) -> ServerProcess:
    """Three workers, of which slot 1 dies each time before it is ready, until it is given up."""
    text = source_of("dying").replace(".exists():", ".exists() and app.worker.slot == 1:")
    server = serve(text, "-w", "3", env={"TESTAPP_SICK": str(sick), "TESTAPP_DIES_AFTER": "0"}).ready(3)
    server.expect(*EXPECTED)
    sick.touch()
    with Load(server.address, (NewConnectionGet,)) as tally:
        killed_at = time.monotonic()
        os.kill(next(worker.pid for worker in server.workers() if worker.slot == 1), signal.SIGKILL)
        eventually(lambda: is_failed(server), 60, "the slot shown as failed")
        assert {worker.slot for worker in server.workers("ready")} == {0, 2}
        assert server.status().state == "degraded"
        done = tally.ok
        eventually(lambda: tally.ok > done + 50, 20)
    assert all(failure.begun < killed_at + 0.05 for failure in tally.failures), tally.summary()
    return server


def test_one_ill_slot_leaves_the_others_serving_and_heals_when_asked(serve: Serve, tmp_path: Path) -> None:
    server = one_ill_slot(serve, tmp_path / "sick")
    (tmp_path / "sick").unlink()
    server.handle().restart(slot=1)
    assert len(server.settled().workers) == 3
    assert server.status().state == "ready"
    assert server.stop() == 0


@pytest.mark.slow
@pytest.mark.limit_s(180)
def test_one_ill_slot_heals_by_itself(serve: Serve, tmp_path: Path) -> None:
    server = one_ill_slot(serve, tmp_path / "sick")
    (tmp_path / "sick").unlink()
    assert len(server.settled(deadline_s=120).workers) == 3
    assert server.stop() == 0


def test_the_growing_delay_is_in_the_log_and_starts_are_few(serve: Serve, tmp_path: Path) -> None:
    """Catalogue 22: the four servers compared start 17 to 20 children in 15 s; here the delay grows."""
    sick = tmp_path / "sick"
    server = serve("dying", "-w", "1", env={"TESTAPP_SICK": str(sick), "TESTAPP_DIES_AFTER": "0.2"}).ready(1)
    server.expect(*EXPECTED)
    sick.touch()
    server.handle().restart(slot=0)
    begun = starts(server)
    threading.Event().wait(6)  # a rate is measured over a time
    assert starts(server) - begun <= 12
    delays = [to_seconds(*found) for found in re.findall(r"replaced in ([\d.]+) (ms|s|min)", server.log)]
    assert len(delays) >= 3
    assert delays == sorted(delays)
    assert delays[-1] >= 2 * delays[0]
    assert server.stop() == 0


def to_seconds(amount: str, unit: str) -> float:
    return float(amount) * {"ms": 0.001, "s": 1.0, "min": 60.0}[unit]
