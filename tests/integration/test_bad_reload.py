"""Acceptance 3: a reload onto broken code changes nothing, says why, and the next good one works."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.apps import deploy, replace, source_of
from tests.conftest import Serve
from tests.helpers.conditions import eventually
from tests.helpers.load import MIXED, Load

GOOD = source_of("full", "bad")
BEFORE_SERVING = 'note("before_serving")'
assert BEFORE_SERVING in GOOD

#: The broken program, and what the one who asked for the reload must be able to read.
BROKEN = {
    "SyntaxError": ("def broken(:\n" + GOOD, ["SyntaxError", "def broken(:"]),
    "ImportError": ("import no_such_module_anywhere\n" + GOOD, ["Traceback", "no_such_module_anywhere"]),
    "sys.exit(3) at import": ("import sys\nsys.exit(3)\n" + GOOD, ["3"]),
    "endless loop at import": ("while True:\n    pass\n" + GOOD, ["app.py"]),
    "before_serving raises": (
        GOOD.replace(BEFORE_SERVING, 'raise LookupError("no database today")'),
        ["Traceback", "no database today"],
    ),
    "before_serving hangs": (GOOD.replace(BEFORE_SERVING, "await asyncio.Event().wait()"), ["boot"]),
}
#: Those end only when the boot timeout is over.
ENDLESS = ("endless loop at import", "before_serving hangs")


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_code_keeps_the_old_workers_and_tells_why(serve: Serve, tmp_path: Path, kind: str) -> None:
    patience = ["--boot-timeout", "6"] if kind in ENDLESS else []
    server = serve("full", "-w", "2", *patience).ready(2)
    server.expect(
        "reload", "generation", "gen=2", "gen=3", "Traceback", "zygote", "Error", "lifespan", "boot", "ended", "Fatal"
    )
    text, told = BROKEN[kind]
    program = tmp_path / "app.py"
    before = server.ready_pids()
    whole = server.complete(2)
    with Load(server.address, MIXED) as tally:
        replace(program, text)
        if kind not in ENDLESS:
            server.send_signal(signal.SIGHUP)
            failed = eventually(lambda: server.status().last_reload, 20, "a verdict on the reload")
            assert not failed.ok
            assert failed.reason
            assert server.ready_pids() == before

        asked = server.command("reload", str(server.pid))
        assert asked.returncode == 1, asked
        said = asked.stdout + asked.stderr
        assert [part for part in told if part not in said] == [], said
        assert server.ready_pids() == before
        assert server.complete(2, deadline_s=10) == whole, "the broken program gone, and nobody else"
        assert tally.versions() == {"v1"}

        deploy(program, version="v2")
        good = server.command("reload", str(server.pid))
        assert good.returncode == 0, good.stdout + good.stderr
        eventually(lambda: server.get().json()["version"] == "v2", 10, "the good code answers")
        status = server.settled()
    tally.assert_nothing_failed(at_least=100)
    assert status.last_reload is not None
    assert status.last_reload.ok
    assert "bad" not in tally.versions()
    assert server.stop() == 0


def test_a_worker_killed_while_it_starts_leaves_the_old_ones_serving(serve: Serve, tmp_path: Path) -> None:
    """Catalogue 20: whatever becomes of that reload, one generation serves afterwards and nothing failed."""
    import os

    server = serve("full", "-w", "2").ready(2)
    server.expect("worker slot=", "reload")
    slow_start = source_of("full", "v2").replace(BEFORE_SERVING, "await asyncio.sleep(1.5)")
    replace(tmp_path / "app.py", slow_start)
    with Load(server.address, MIXED) as tally:
        server.send_signal(signal.SIGHUP)
        starting = eventually(lambda: server.workers("starting"), 20, "workers of the new program starting")
        os.kill(starting[0].pid, signal.SIGKILL)
        eventually(lambda: server.status().last_reload, 30, "a verdict on the reload")
        status = server.settled()
    tally.assert_nothing_failed(at_least=50)
    assert {worker.generation for worker in status.workers} == {status.generation}
    assert server.stop() == 0


def test_from_python_the_refusal_carries_the_traceback(serve: Serve, tmp_path: Path) -> None:
    import aeros

    server = serve("full", "-w", "1").ready(1)
    server.expect("reload", "Traceback", "Error")
    replace(tmp_path / "app.py", "1 / 0\n")
    with pytest.raises(aeros.ReloadFailed) as caught:
        server.handle().reload(timeout=30)
    assert "ZeroDivisionError" in caught.value.traceback
    assert "app.py" in caught.value.traceback
    assert server.get().json()["version"] == "v1"
    assert server.log.count("Traceback (most recent call last)") == 1, "one traceback per cause"
    assert server.stop() == 0


def test_a_program_that_no_longer_starts_a_server_is_refused(serve: Serve, tmp_path: Path) -> None:
    server = serve("full", "-w", "1").ready(1)
    server.expect("reload")
    replace(tmp_path / "app.py", "print('I am no server any more')\n")
    asked = server.command("reload", str(server.pid))
    assert asked.returncode == 1
    assert "start()" in asked.stdout + asked.stderr
    assert server.get().json()["version"] == "v1"
    assert server.stop() == 0
