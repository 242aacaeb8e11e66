"""`aeros top`: what it shows is what the server says, and its keys do what they say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apps import deploy
from tests.conftest import Serve
from tests.helpers.conditions import eventually
from tests.helpers.http import Connection
from tests.helpers.serverproc import ServerProcess, environment
from tests.helpers.terminal import Terminal


def last_screen(terminal: Terminal) -> str:
    """The last whole view, without colours."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\0", terminal.shown).replace("\r", "")
    views = text.split("workers ready,")
    return "" if len(views) < 2 else views[-2][-20:] + "workers ready," + views[-1]


class Watched:
    def __init__(self, server: ServerProcess, terminal: Terminal, columns: int) -> None:
        self.terminal = terminal
        size = {"COLUMNS": str(columns), "LINES": "40", "TERM": "xterm"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "aeros", "top", str(server.pid), "--interval", "200ms"],
            preexec_fn=terminal.preexec(),
            start_new_session=True,
            cwd=server.cwd,
            env=environment(server.runtime_dir, server.marker, size),
        )

    def shows(self, pattern: str, deadline_s: float = 15.0) -> None:
        eventually(
            lambda: re.search(pattern, last_screen(self.terminal).replace("\0", "")),
            deadline_s,
            lambda: f"{pattern!r} in:\n{last_screen(self.terminal)}",
        )


@pytest.fixture
def watch() -> Iterator[object]:
    watched: list[Watched] = []
    terminals: list[Terminal] = []

    def start(server: ServerProcess, columns: int = 120) -> Watched:
        terminal = Terminal()
        terminals.append(terminal)
        watched.append(Watched(server, terminal, columns))
        return watched[-1]

    yield start
    for one in watched:
        one.process.kill()
        one.process.wait(10)
    for terminal in terminals:
        terminal.__exit__()


def test_the_view_tells_the_truth_and_the_keys_work(serve: Serve, watch: object, tmp_path: Path) -> None:
    server = serve("full", "-w", "2").ready(2)
    for _ in range(25):
        assert server.get().status == 200
    with Connection(server.address) as slow:
        slow.send(slow.head("GET", "/slow?s=60"))
        top = watch(server)  # type: ignore[operator]
        top.shows("2 of 2 workers ready")
        top.shows(r"GET /slow \(")
        top.shows(rf"{server.status().totals.requests} requests since start")
        top.terminal.press(b"+")
        top.shows("3 of 3 workers ready")
        top.terminal.press(b"-")
        top.shows("2 of 2 workers ready")
        top.terminal.press(b"?")
        top.shows("keys; esc: back")
        # What is shown goes on: the age of a request that is under way grows.
        keys = b"\x1b[A\x1b[Ai" if [one.slot for one in server.handle().requests()] == [0] else b"\x1b[B\x1b[Bi"
        top.terminal.press(keys)
        top.shows(r"in slot \d, live; esc: back\s+GET /slow \(")
        age = re.search(r"GET /slow \(([\d.]+ s)", last_screen(top.terminal))
        assert age
        eventually(lambda: f"GET /slow ({age[1]}" not in last_screen(top.terminal), 10, "another age")
        for keys in (b"\x1b[A\x1b[As", b"\x1b[B\x1b[Bs"):
            top.terminal.press(keys)
            top.shows("stack of slot [01]; esc: back")
            top.terminal.press(b"\x1b")
        deploy(tmp_path / "app.py", "full", "v2")
        top.terminal.press(b"r")
        top.shows("generation 2 serves", 30)
        (tmp_path / "app.py").write_text("this is no Python\n")
        server.expect("reload", "SyntaxError", "Traceback", "invalid syntax")
        top.terminal.press(b"r")
        top.shows("SyntaxError", 30)
    top.terminal.press(b"q")
    assert top.process.wait(10) == 0
    assert server.get().json()["version"] == "v2"


def test_a_narrow_terminal_gets_fewer_columns(serve: Serve, watch: object) -> None:
    server = serve("full", "-w", "1").ready(1)
    top = watch(server, columns=40)  # type: ignore[operator]
    top.shows("slot.*state.*req/s")
    assert "restarts" not in last_screen(top.terminal)
    assert server.stop() == 0
    assert top.process.wait(15) == 0, "it ends with the server"


def test_without_a_terminal_it_prints_one_view(serve: Serve) -> None:
    server = serve("full", "-w", "2").ready(2)
    shown = server.command("top", str(server.pid), "--interval", "100ms")
    assert shown.returncode == 0
    assert "2 of 2 workers ready" in shown.stdout
    view = json.loads(server.command("top", str(server.pid), "--once", "--json", "--interval", "100ms").stdout)
    assert view["pid"] == server.pid
    assert {int(pid) for pid in view["rates_by_pid"]} == server.ready_pids()
    wrong = server.command("top", str(server.pid), "--interval", "0")
    assert wrong.returncode == 2
    assert "--interval" in wrong.stderr


def test_no_such_server(serve: Serve) -> None:
    server = serve("full", "-w", "1").ready(1)
    gone = server.command("top", str(os.getpid()))
    assert gone.returncode != 0
    assert "Traceback" not in gone.stderr


@pytest.mark.parametrize("columns", [40, 60, 104])
def test_no_heading_is_cut_in_a_narrow_terminal(serve: Serve, columns: int) -> None:
    server = serve("plain", "-w", "1").ready(1)
    done = subprocess.run(
        [sys.executable, "-m", "aeros", "top", str(server.pid), "--once", "--interval", "200ms"],
        # A terminal that does not know "…" either.
        env=environment(
            server.runtime_dir, server.marker + "-top", {"COLUMNS": str(columns), "PYTHONIOENCODING": "latin-1"}
        ),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    lines = done.stdout.splitlines()
    (headings,) = (line for line in lines if line.startswith("slot"))
    assert "u2026" not in headings
    # The row below, with numbers as long as they often are, fits as well.
    assert not [line for line in lines if "u2026" in line], done.stdout
