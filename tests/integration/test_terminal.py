"""Ctrl+C as a person presses it: the whole foreground group gets the signal, and it must read well."""

from __future__ import annotations

import time

import pytest

from tests.conftest import Serve
from tests.helpers.conditions import eventually
from tests.helpers.http import Connection
from tests.helpers.serverproc import ServerProcess
from tests.helpers.terminal import CTRL_C, Terminal


def in_terminal(serve: Serve, terminal: Terminal, *args: str, **env: str) -> ServerProcess:
    server = serve("full", *args, preexec=terminal.preexec(), env=env)
    server.shown_in(terminal)
    return server


def test_ctrl_c_prints_one_line_and_ends_with_0(serve: Serve) -> None:
    with Terminal() as terminal:
        server = in_terminal(serve, terminal, "-w", "3").ready(3)
        before = terminal.shown
        terminal.press(CTRL_C)
        assert server.wait_exit() == 0
        eventually(lambda: len(terminal.shown) > len(before), 5)
        said = [line for line in terminal.shown.removeprefix(before).splitlines() if line.strip("^C \n")]
    assert len(said) == 1, said
    assert "stop" in said[0].lower()
    server.family_gone(0.5)


def test_ctrl_c_lets_a_request_finish_and_twice_means_now(serve: Serve) -> None:
    with Terminal() as terminal:
        server = in_terminal(serve, terminal, "-w", "2", "--drain-timeout", "60").ready(2)
        with Connection(server.address) as short, Connection(server.address) as long:
            short.send(short.head("GET", "/slow?s=1"))
            long.send(long.head("GET", "/slow?s=60"))
            eventually(lambda: sum(worker.in_flight for worker in server.workers()) == 2, 5)
            terminal.press(CTRL_C)
            assert short.read_answer().status == 200
            assert server.popen.poll() is None
            begun = time.monotonic()
            terminal.press(CTRL_C)
            server.wait_exit(5)
            assert time.monotonic() - begun < 5
        assert "Traceback" not in terminal.shown
        assert "KeyboardInterrupt" not in terminal.shown
    server.family_gone(0.5)


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_while_it_starts(serve: Serve, times: int) -> None:
    from tests.apps import source_of

    with Terminal() as terminal:
        text = source_of("full").replace('note("before_serving")', 'print("booting", flush=True); time.sleep(1.5)')
        server = serve(text, "-w", "2", preexec=terminal.preexec())
        server.shown_in(terminal)
        eventually(lambda: "booting" in terminal.shown, 20)
        for _ in range(times):
            terminal.press(CTRL_C)
        server.wait_exit(15)
        assert "Traceback" not in terminal.shown
        assert "KeyboardInterrupt" not in terminal.shown
    server.family_gone(0.5)


def test_ctrl_c_during_the_imports_is_no_page_of_tracebacks(serve: Serve) -> None:
    """Before start() the program is the user's own; Aeros can only promise that nothing is left."""
    with Terminal() as terminal:
        server = serve(
            "print('importing', flush=True)\nimport time\ntime.sleep(30)\n",
            preexec=terminal.preexec(),
            bind=None,
        )
        server.shown_in(terminal)
        server.expect("Traceback")
        eventually(lambda: "importing" in terminal.shown, 20)
        terminal.press(CTRL_C)
        server.wait_exit(10)
        assert terminal.shown.count("Traceback") <= 1
    server.family_gone(0.5)


def test_colour_on_a_terminal_and_none_in_a_file(serve: Serve) -> None:
    with Terminal() as terminal:
        server = in_terminal(serve, terminal, "-w", "1", NO_COLOR="").ready(1)
        assert "\x1b[" in terminal.shown
        terminal.press(CTRL_C)
        assert server.wait_exit() == 0
    plain = serve("full", "-w", "1", env={"NO_COLOR": ""}).ready(1)
    assert "\x1b" not in plain.log
    assert plain.stop() == 0
