"""A worker that dies again and again is tried ever less often, others go on, and it can heal."""

from __future__ import annotations

import re
import threading
from pathlib import Path

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


def test_one_ill_slot_leaves_the_others_serving(serve: Serve, tmp_path: Path) -> None:
    sick = tmp_path / "sick"
    text = source_of("dying").replace(".exists():", ".exists() and app.worker.slot == 1:")
    server = serve(text, "-w", "3", env={"TESTAPP_SICK": str(sick), "TESTAPP_DIES_AFTER": "0"}).ready(3)
    server.expect(*EXPECTED)
    sick.touch()
    server.handle().restart(slot=1)
    with Load(server.address, (NewConnectionGet,)) as tally:
        eventually(lambda: is_failed(server), 60, "the slot shown as failed")
        assert {worker.slot for worker in server.workers("ready")} >= {0, 2}
        done = tally.ok
        eventually(lambda: tally.ok > done + 50, 20)
    assert len(tally.failures) < 20, tally.summary()
    sick.unlink()
    eventually(lambda: len(server.ready_pids()) == 3, 60, "healed by itself")
    assert server.stop() == 0


def test_the_growing_delay_is_in_the_log_and_starts_are_few(serve: Serve, tmp_path: Path) -> None:
    """Catalogue 22: the four servers compared start 17 to 20 children in 15 s; here the delay grows."""
    sick = tmp_path / "sick"
    server = serve("dying", "-w", "1", env={"TESTAPP_SICK": str(sick), "TESTAPP_DIES_AFTER": "0.2"}).ready(1)
    server.expect(*EXPECTED)
    sick.touch()
    server.handle().restart(slot=0)
    begun = starts(server)
    threading.Event().wait(10)  # a rate is measured over a time
    assert starts(server) - begun <= 14
    delays = [to_seconds(*found) for found in re.findall(r"replaced in ([\d.]+) (ms|s|min)", server.log)]
    assert len(delays) >= 3
    assert delays == sorted(delays)
    assert delays[-1] >= 2 * delays[0]
    assert server.stop() == 0


def to_seconds(amount: str, unit: str) -> float:
    return float(amount) * {"ms": 0.001, "s": 1.0, "min": 60.0}[unit]
