"""breakpoint() in a handler: a prompt in a terminal with one worker, else a line that says what to do."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.helpers.conditions import eventually
from tests.helpers.http import Answer, ExchangeError
from tests.helpers.loops import EVERY_LOOP
from tests.helpers.serverproc import ServerProcess
from tests.helpers.terminal import CTRL_C, Terminal

APP = """
import sys
from aeros import WebServer
app = WebServer(__name__)

@app.get("/async")
async def in_the_loop():
    number = 40
    breakpoint()
    return {"number": number}

@app.get("/plain")
def in_a_thread():
    number = 40
    breakpoint()
    return {"number": number}

@app.get("/pdb")
async def by_pdb():
    import pdb
    number = 40
    pdb.set_trace()
    return {"number": number}

@app.get("/input")
async def by_input():
    return {"name": input("your name? ")}

@app.get("/")
async def home():
    return {"ok": True}

if __name__ == "__main__":
    app.start(sys.argv[1:])
"""


class Visitor:
    """One request, made in a thread."""

    def __init__(self, server: ServerProcess, path: str) -> None:
        self.answer: Answer | None = None
        self._server, self._path = server, path
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        try:
            self.answer = self._server.get(self._path, timeout_s=60)
        except ExchangeError:
            return

    def wait(self) -> Answer:
        self._thread.join(60)
        assert self.answer is not None
        return self.answer


@EVERY_LOOP
@pytest.mark.parametrize("path", ["/async", "/plain"])
def test_a_prompt_in_the_terminal_that_no_timeout_ends(serve: Serve, path: str, loop: str) -> None:
    with Terminal() as terminal:
        server = serve(APP, "-w", "1", "-k", loop, "--worker-timeout", "1s", preexec=terminal.preexec())
        server.shown_in(terminal)
        server.ready(1)
        (pid,) = server.ready_pids()
        visitor = Visitor(server, path)
        eventually(lambda: "(Pdb) " in terminal.shown, 30)
        held = time.monotonic()
        # Three times the worker timeout; the pid is looked at all the while.
        while time.monotonic() - held < 3:
            assert server.ready_pids() == {pid}
            time.sleep(0.2)
        terminal.press(b"p number + 2\n")
        eventually(lambda: "(Pdb) 42" in terminal.shown, 20)
        terminal.press(b"number = 7\n")
        eventually(lambda: terminal.shown.count("(Pdb) ") >= 3, 20)
        terminal.press(b"c\n")
        assert visitor.wait().json() == {"number": 7}
        assert server.ready_pids() == {pid}
        # And the keys are the supervisor's again.
        terminal.press(CTRL_C)
        assert server.wait_exit() == 0
    server.family_gone(2)


def test_ctrl_c_at_the_prompt_is_the_prompts_and_after_a_reload_too(serve: Serve) -> None:
    with Terminal() as terminal:
        server = serve(APP, "-w", "1", preexec=terminal.preexec())
        server.shown_in(terminal)
        server.ready(1)
        assert server.handle().reload(timeout=30).ok
        server.settled(2)
        visitor = Visitor(server, "/async")
        eventually(lambda: "(Pdb) " in terminal.shown, 30)
        terminal.press(CTRL_C)
        eventually(lambda: "KeyboardInterrupt" in terminal.shown and terminal.shown.count("(Pdb) ") >= 2, 20)
        assert server.running
        terminal.press(b"c\n")
        assert visitor.wait().status == 200
        terminal.press(CTRL_C)
        assert server.wait_exit() == 0


def test_a_worker_that_is_killed_at_the_prompt_leaves_the_keys_to_the_supervisor(serve: Serve) -> None:
    import os
    import signal

    with Terminal() as terminal:
        server = serve(APP, "-w", "1", preexec=terminal.preexec())
        server.expect("SIGKILL", "worker")
        server.shown_in(terminal)
        server.ready(1)
        (pid,) = server.ready_pids()
        Visitor(server, "/async")
        eventually(lambda: "(Pdb) " in terminal.shown, 30)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: server.ready_pids() - {pid}, 30)
        terminal.press(CTRL_C)
        assert server.wait_exit() == 0


def test_pdb_and_input_ask_at_the_terminal_too(serve: Serve) -> None:
    with Terminal() as terminal:
        server = serve(APP, "-w", "1", "--worker-timeout", "1s", preexec=terminal.preexec())
        server.shown_in(terminal)
        server.ready(1)
        (pid,) = server.ready_pids()
        visitor = Visitor(server, "/pdb")
        eventually(lambda: "(Pdb) " in terminal.shown, 30)
        terminal.press(b"number = 7\n")
        eventually(lambda: terminal.shown.count("(Pdb) ") >= 2, 20)
        terminal.press(b"c\n")
        assert visitor.wait().json() == {"number": 7}
        visitor = Visitor(server, "/input")
        eventually(lambda: "your name? " in terminal.shown, 30)
        terminal.press(b"ann\n")
        assert visitor.wait().json() == {"name": "ann"}
        assert server.ready_pids() == {pid}
        terminal.press(CTRL_C)
        assert server.wait_exit() == 0


def test_input_with_two_workers_fails_the_request_alone_and_says_why(serve: Serve) -> None:
    with Terminal() as terminal:
        server = serve(APP, "-w", "2", preexec=terminal.preexec())
        server.expect(r"input\(\)", "Exception on request", "Traceback")
        server.shown_in(terminal)
        server.ready(2)
        before = server.ready_pids()
        assert server.get("/input").status == 500
        assert server.get("/pdb").status == 500
        assert re.search(r"input\(\) at \S+app.py:\d+ gets nothing to read: there are 2 workers", terminal.shown)
        assert server.ready_pids() == before
        terminal.press(CTRL_C)
        assert server.wait_exit() == 0


def test_without_a_terminal_one_line_says_what_to_do_and_the_handler_goes_on(serve: Serve) -> None:
    server = serve(APP, "-w", "1").ready(1)
    server.expect(r"breakpoint\(\)")
    for _ in range(3):
        assert server.get("/async").json() == {"number": 40}
    assert server.get("/plain").json() == {"number": 40}
    lines = [line for line in server.log.splitlines() if "breakpoint()" in line]
    assert len(lines) == 2, lines
    assert all("app.py:" in line and "-w 1" in line for line in lines)
    assert server.stop() == 0


def test_with_two_workers_in_a_terminal_too(serve: Serve) -> None:
    with Terminal() as terminal:
        server = serve(APP, "-w", "2", preexec=terminal.preexec())
        server.shown_in(terminal)
        server.ready(2)
        server.expect(r"breakpoint\(\)")
        assert server.get("/async").json() == {"number": 40}
        server.wait_log(r"breakpoint\(\) at .* there are 2 workers")
        terminal.press(CTRL_C)
        assert server.wait_exit() == 0


def test_the_programs_own_hook_and_pythonbreakpoint_stay(serve: Serve) -> None:
    server = serve(APP, "-w", "1", env={"PYTHONBREAKPOINT": "0"}).ready(1)
    assert server.get("/async").json() == {"number": 40}
    assert "breakpoint()" not in server.log
    assert server.stop() == 0


DEBUGPY = """
connected = CONNECTED
def is_client_connected():
    return connected
"""
HELD = """
import sys, time
import debugpy
from aeros import WebServer
app = WebServer(__name__)

@app.get("/held")
async def held():
    time.sleep(4)
    return {"ok": True}

if __name__ == "__main__":
    app.start(sys.argv[1:])
"""


@pytest.mark.parametrize("connected", [True, False])
def test_a_debugger_with_a_client_may_hold_the_loop(serve: Serve, tmp_path: Path, connected: bool) -> None:
    """debugpy is a stand-in here. One that waits for a client holds nothing, and excuses nothing."""
    (tmp_path / "debugpy.py").write_text(DEBUGPY.replace("CONNECTED", str(connected)))
    server = serve(HELD, "-w", "1", "--worker-timeout", "1s").ready(1)
    if connected:
        server.wait_log("a debugger is attached", count=1)
        assert server.get("/held", timeout_s=30).json() == {"ok": True}
        assert server.log.count("a debugger is attached") == 1
    else:
        server.expect("worker", "Traceback", "File", "thread", "heartbeat")
        with pytest.raises(ExchangeError):
            server.get("/held", timeout_s=30)
        assert "a debugger is attached" not in server.log
        eventually(lambda: server.workers("ready"), 20)
    assert server.stop() == 0
