"""What the program sets of its process at import stays in workers, and does not add up over generations."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.helpers.conditions import eventually
from tests.helpers.programs import program as program_of

PROGRAM = """
import faulthandler, gc, os, resource, signal, sys
BEFORE
from aeros import WebServer

def attributes():
    return {
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "umask": open("/proc/self/status").read().split("Umask:")[1].split()[0],
        "cpus": sorted(os.sched_getaffinity(0)), "files": resource.getrlimit(resource.RLIMIT_NOFILE),
        "ignored": signal.getsignal(signal.SIGWINCH) is signal.SIG_IGN,
    }

at_start = attributes()
gc.disable()
gc.set_threshold(50_000, 20, 30)
stacks = open("stacks", "w")
faulthandler.register(signal.SIGUSR1, file=stacks)
signal.signal(signal.SIGUSR2, lambda number, frame: open("called", "a").write(f"{os.getpid()}\\n"))
signal.signal(signal.SIGWINCH, signal.SIG_IGN)
os.nice(2)
os.umask(0o027)
os.sched_setaffinity(0, at_start["cpus"][:1])
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 10, hard))

app = WebServer(__name__)

@app.get("/")
async def home():
    return {"start": at_start, "now": attributes(), "gc": [gc.isenabled(), *gc.get_threshold()], "pid": os.getpid()}

if __name__ == "__main__":
    app.start(sys.argv[1:])
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may take a priority back")
def test_generations_begin_with_the_attributes_of_the_start(serve: Serve) -> None:
    server = serve(PROGRAM.replace("BEFORE", ""), "-w", "1").ready(1)
    first = server.get().json()
    assert first["now"]["nice"] == first["start"]["nice"] + 2
    assert first["gc"] == [False, 50_000, 20, 30]
    for _ in range(2):
        server.handle().reload()
    server.settled(3)
    second = server.get().json()
    server.succeeded_by(server.handle().upgrade(timeout=40).pid)
    server.settled()
    eventually(lambda: server.get().json()["pid"] in server.ready_pids(), 10, "the new server's workers alone")
    third = server.get().json()
    server.handle().reload()
    fourth = server.get().json()
    for later in (second, third, fourth):
        assert {**later, "pid": 0} == {**first, "pid": 0}


def test_what_an_operator_changes_is_kept(serve: Serve) -> None:
    """renice of a running server is meant for what it starts as well."""
    program = PROGRAM.replace("BEFORE", "").replace("os.nice(2)\n", "")
    server = serve(program, "-w", "1").ready(1)
    nice = server.get().json()["now"]["nice"]
    os.setpriority(os.PRIO_PROCESS, server.pid, nice + 3)
    server.handle().reload()
    server.settled(2)
    assert server.get().json()["now"]["nice"] == nice + 3


def test_what_cannot_be_taken_back_is_said(serve: Serve, tmp_path: Path) -> None:
    """A priority, by a server that has no right to take it back."""
    program = tmp_path / "app.py"
    program.write_text(PROGRAM.replace("BEFORE", ""))
    without = [program_of("setpriv", "util-linux"), "--bounding-set=-sys_nice"]
    server = serve(argv=[*without, sys.executable, "app.py", "-w", "1", "-b", "127.0.0.1:0"]).ready(1)
    server.handle().reload()
    server.expect("cannot be as at the start")
    server.wait_log("aeros: nice cannot be as at the start, which the program has changed: .*(denied|not permitted)")


@pytest.mark.parametrize("generation", [1, 2])
def test_signal_handlers_of_the_app_stay_in_workers(serve: Serve, tmp_path: Path, generation: int) -> None:
    server = serve(PROGRAM.replace("BEFORE", "").replace("os.nice(2)\n", ""), "-w", "1").ready(1)
    if generation == 2:
        server.handle().reload()
        server.settled(2)
    (pid,) = server.ready_pids()
    os.kill(pid, signal.SIGUSR1)
    eventually(lambda: "most recent call first" in (tmp_path / "stacks").read_text(), 10, "faulthandler's stacks")
    os.kill(pid, signal.SIGUSR2)
    called = tmp_path / "called"
    eventually(lambda: called.exists() and called.read_text().split() == [str(pid)], 10, "the app's own handler")
    assert server.get().json()["pid"] == pid, "neither ended the worker"


def test_signals_that_the_app_does_not_answer_do_nothing(serve: Serve) -> None:
    server = serve("full", "-w", "1").ready(1)
    (pid,) = server.ready_pids()
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        os.kill(pid, number)
    assert server.get().json()["pid"] == pid
