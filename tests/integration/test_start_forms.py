"""Acceptance 1: a server starts from every way of writing a program, with the app object itself."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from tests.apps import deploy, replace, source_of
from tests.conftest import Serve
from tests.helpers.conditions import eventually
from tests.helpers.serverproc import EVERY_SERVER, ServerProcess

TINY = """
import os, sys
from aeros import WebServer

app = WebServer(__name__)

@app.get("/")
async def home():
    return {"pid": os.getpid(), "generation": app.worker.generation, "version": "v1"}
"""

FUNCTION = """
import os
from aeros import WebServer

def main():
    word = "kept in a closure"
    unpicklable = lambda: word
    app = WebServer("anything")

    @app.get("/")
    async def home():
        return {"pid": os.getpid(), "word": unpicklable()}

    app.start("-w 2 -b 127.0.0.1:0")

main()
"""

FACTORY = """
import os
from aeros import WebServer

def create_app():
    app = WebServer(__name__)

    @app.get("/")
    async def home():
        return {"pid": os.getpid(), "generation": app.worker.generation, "version": "v1"}

    return app
"""

START = 'app.start("-w 2 -b 127.0.0.1:0")\n'


def two_workers_answer(server: ServerProcess) -> set[int]:
    """Both workers, and no other process, answer on the one address."""
    server.settled()
    seen: set[int] = set()

    def both() -> bool:
        seen.add(server.get().json()["pid"])
        return len(seen) == 2

    eventually(both, what="answers from two pids")
    assert seen == server.ready_pids()
    assert server.pid not in seen
    return seen


def test_the_first_example_of_the_documentation(serve: Serve) -> None:
    server = serve("seed_first", bind=None).ready(2)
    assert server.get().json() == {"response": "ok"}
    seen: set[int] = set()

    def both() -> bool:
        seen.add(server.get("/pid").json()["pid"])
        return len(seen) == 2

    eventually(both, what="answers from two pids")
    assert server.stop() == 0


@pytest.mark.not_run_as("root, who runs the module's code, makes the file that workers append to")
def test_module_code_runs_once_for_all_workers(serve: Serve, tmp_path: Path) -> None:
    events = tmp_path / "events"
    server = serve("full", "-w", "3", env={"TESTAPP_EVENTS": str(events)}).ready(3)
    assert server.stop() == 0
    lines = [line.split() for line in events.read_text().splitlines()]
    assert [line for line in lines if line[0] == "imported"] == [["imported", str(server.pid), "v1"]]
    begun = [pid for event, pid, _ in lines if event == "before_serving"]
    ended = [pid for event, pid, _ in lines if event == "after_serving"]
    assert len(begun) == len(set(begun)) == 3
    assert sorted(begun) == sorted(ended)


@pytest.mark.parametrize(
    "start",
    [
        'app.start("-w 2 -b 127.0.0.1:0")',
        'app.start(["-w", "2", "--bind", "127.0.0.1:0"])',
        'app.start(workers=2, bind="127.0.0.1:0")',
        'app.start("-w 2", port=0)',
        "app.start(\"-w 2  --bind  '127.0.0.1:0'\")",
    ],
)
def test_arguments_as_text_as_list_as_keywords_and_mixed(serve: Serve, start: str) -> None:
    server = serve(TINY + start + "\n", bind=None)
    two_workers_answer(server)
    assert server.stop() == 0


def test_from_python_c(serve: Serve) -> None:
    server = serve(argv=[sys.executable, "-c", TINY + START])
    before = two_workers_answer(server)
    server.handle().reload(timeout=30)
    assert not before & two_workers_answer(server)
    assert server.stop() == 0


def test_from_stdin_where_a_reload_can_only_be_of_the_same_code(serve: Serve) -> None:
    server = serve(argv=[sys.executable, "-"], stdin=TINY + START)
    before = two_workers_answer(server)
    result = server.handle().reload(timeout=30)
    assert (result.ok, result.how) == (True, "refork"), "it says what kind of reload it was"
    server.wait_log("standard input")
    assert not before & two_workers_answer(server)
    assert server.stop() == 0


def test_from_a_function_with_closures(serve: Serve) -> None:
    server = serve(FUNCTION, bind=None)
    two_workers_answer(server)
    assert server.get().json()["word"] == "kept in a closure"
    assert server.stop() == 0


@pytest.mark.parametrize("spelling", ["shop:app", "factory:create_app()"])
def test_by_import_name_and_from_a_factory(serve: Serve, tmp_path: Path, spelling: str) -> None:

    (tmp_path / "shop.py").write_text(TINY)
    (tmp_path / "factory.py").write_text(FACTORY)
    server = serve(argv=[sys.executable, "-m", "aeros", "run", spelling, "-w", "2", "-b", "127.0.0.1:0"])
    before = two_workers_answer(server)
    for name in ("shop.py", "factory.py"):
        replace(tmp_path / name, (tmp_path / name).read_text().replace('"v1"', '"v2"'))
    result = server.command("reload", str(server.pid))
    assert result.returncode == 0, result.stderr
    assert not before & two_workers_answer(server)
    assert server.get().json()["version"] == "v2"
    assert server.stop() == 0


def test_as_a_module_with_python_m(serve: Serve, tmp_path: Path) -> None:
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(source_of("full"))
    server = serve(argv=[sys.executable, "-m", "shop", "-w", "2", "-b", "127.0.0.1:0"])
    before = two_workers_answer(server)
    deploy(package / "__main__.py", version="v2")
    server.send_signal(signal.SIGHUP)
    eventually(lambda: server.get().json()["version"] == "v2", 30, "the new code answers")
    server.settled()
    assert not before & two_workers_answer(server)
    assert server.stop() == 0


def test_start_a_second_time_is_refused_and_harmless(serve: Serve) -> None:
    """start() inside a worker, from the first request: an error with a sentence, the server unharmed."""
    server = serve(
        TINY
        + """
@app.get("/again")
async def again():
    try:
        app.start("-w 1", port=0, block=False)
    except Exception as error:
        return {"error": type(error).__name__, "text": str(error)}
    return {"error": None}

"""
        + START,
        bind=None,
    )
    two_workers_answer(server)
    answer = server.get("/again").json()
    assert answer["error"] == "StateError", answer
    assert "worker" in answer["text"]
    two_workers_answer(server)
    assert server.stop() == 0


def test_the_banner_says_what_one_needs_in_at_most_five_lines(serve: Serve) -> None:
    server = serve("full", "-w", "2").ready(2)
    loop = EVERY_SERVER.get("AEROS_WORKER_CLASS", "uvloop")
    until_ready = server.log.splitlines()
    assert any(server.url in line for line in until_ready)
    banner = server.log
    assert str(server.pid) in banner
    assert f"aeros reload {server.pid}" in banner or f"kill -HUP {server.pid}" in banner
    assert f"2 workers on {loop}" in banner
    unprefixed = [line for line in until_ready if not line.startswith("20")]
    assert len(unprefixed) <= 5, unprefixed
