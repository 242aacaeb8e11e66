"""Each hook runs in the process, and as often, as its documentation says."""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from pathlib import Path

import pytest

from tests.apps import deploy, source_of
from tests.conftest import Serve
from tests.helpers.conditions import eventually


def read(events: Path) -> dict[str, list[tuple[int, int, str]]]:
    """Event → (pid, parent's pid, version), in order."""
    found = defaultdict(list)
    for line in events.read_text().splitlines():
        name, pid, parent, version = line.rsplit(" ", 3)
        found[name].append((int(pid), int(parent), version))
    return found


def test_hooks_run_where_they_are_documented_to(serve: Serve, tmp_path: Path) -> None:
    events = tmp_path / "events"
    server = serve("hooks", "-w", "2", env={"TESTAPP_EVENTS": str(events)}).ready(2)
    server.expect(r"worker slot=\d")
    workers = server.ready_pids()
    seen = read(events)
    zygote = {pid for pid, _, _ in seen["before_fork"]}
    assert len(seen["before_fork"]) == 2
    assert len(zygote) == 1
    assert not zygote & workers
    assert server.pid not in zygote, "the supervisor runs no user code"
    for name in ("after_fork", "worker_ready", "before_serving", "while_serving begins"):
        assert {pid for pid, _, _ in seen[name]} == workers, name
        assert len(seen[name]) == 2, name
    assert not seen["worker_exit"]

    victim = min(workers)
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: len(server.ready_pids() - {victim}) == 2, 10)
    eventually(lambda: len(read(events)["worker_exit"]) == 1, 5, "worker_exit told of the death")
    assert {pid for pid, _, _ in read(events)["worker_exit"]} == zygote, "it survives the worker it tells of"

    deploy(tmp_path / "app.py", "hooks", "v2")
    server.handle().reload(timeout=30)
    server.settled()
    eventually(lambda: len(read(events)["on_reload"]) >= 1, 5)
    assert server.stop() == 0
    seen = read(events)
    begun = sorted(pid for pid, _, _ in seen["while_serving begins"])
    ended = sorted(pid for pid, _, _ in seen["while_serving ends"])
    after = sorted(pid for pid, _, _ in seen["after_serving"])
    assert sorted([*ended, victim]) == begun
    assert after == ended
    assert {version for _, _, version in seen["after_serving"]} == {"v1", "v2"}


@pytest.mark.parametrize("hook", ["before_fork", "after_fork", "worker_ready", "worker_exit"])
def test_a_hook_that_raises_is_told_and_harms_no_other(serve: Serve, tmp_path: Path, hook: str) -> None:
    broken = source_of("hooks").replace(f'    note("{hook}")', '    raise LookupError("hook broken on purpose")')
    events = tmp_path / "events"
    server = serve(broken, "-w", "1", "--boot-timeout", "5", env={"TESTAPP_EVENTS": str(events)})
    server.expect("")
    if hook == "worker_exit":
        server.ready(1)
        assert server.get().status == 200
        server.stop()
    else:
        assert server.wait_exit(20) == 3, "a worker that cannot be made is a start that failed"
    assert "LookupError: hook broken on purpose" in server.log
    assert "ExceptionGroup" not in server.log
    server.family_gone(1)


HUNG = """
import sys, threading
from aeros import WebServer
app = WebServer(__name__)

@app.on_reload
def tell():
    while True:
        try:
            threading.Event().wait(60)
        except Exception:
            pass

@app.get("/")
async def home():
    return "ok"

if __name__ == "__main__":
    app.start(sys.argv[1:])
"""


def test_a_hook_that_hangs_is_ended_and_named(serve: Serve) -> None:
    server = serve(HUNG, "-w", "1").ready(1)
    server.expect("on_reload hook was not done", "Traceback", "Overdue")
    server.handle().reload(timeout=30)
    server.wait_log(r"the app's on_reload hook was not done within 5 s and is ended")
    server.wait_log(r"in tell")
    # The zygote forks again.
    (pid,) = server.settled(2).workers
    os.kill(pid.pid, signal.SIGKILL)
    server.expect("SIGKILL")
    eventually(lambda: server.ready_pids() not in (set(), {pid.pid}), 10, "a new worker")
    assert server.stop() == 0
