"""Commands name the server that they act on, and ask before they stop one that may not be meant."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.conftest import Serve
from tests.helpers.serverproc import ServerProcess, environment


def run(server: ServerProcess, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "aeros", *words],
        cwd=folder,
        env=environment(server.runtime_dir, server.marker),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_outcomes_name_the_server(serve: Serve) -> None:
    server = serve("full", "-w", "1").ready(1)
    about = f"(pid {server.pid}, {server.url.removesuffix('/')})"
    for words, outcome in (
        (("reload",), "reloaded: generation 2 serves after"),
        (("scale", "2"), "scaled: 2 workers ready"),
        (("restart", "0"), "restarting slot 0"),
        (("stop",), "stopped"),
    ):
        said = run(server, Path(server.cwd), *words).stdout
        assert f"{about} {outcome}" in said, said


def test_a_refusal_names_the_server(serve: Serve) -> None:
    server = serve("full", "-w", "1").ready(1)
    server.expect("reload refused", "ZeroDivisionError", "Traceback")
    (Path(server.cwd) / "app.py").write_text("1 / 0\n")
    done = run(server, Path(server.cwd), "reload")
    assert done.returncode == 1
    about = f"(pid {server.pid}, {server.url.removesuffix('/')}): reload refused, the old workers go on serving: "
    assert about in done.stderr.splitlines()[0]


BURNT = """
import sys, time
from aeros import WebServer

app = WebServer(__name__)

@app.before_serving
async def burn():
    while time.process_time() < 1.5:
        pass

app.start(sys.argv[1:])
"""


def test_to_name_a_server_costs_no_reading_of_its_processor(serve: Serve) -> None:
    """A status tells of the time since the reading before: of the command's own there is none."""
    server = serve(BURNT, "-w", "1").ready(1)
    (worker,) = json.loads(run(server, Path(server.cwd), "status", "--json").stdout)["workers"]
    assert worker["cpu_percent"] * worker["uptime_s"] / 100 > 0.5, "some 1.5 s since it began"


def test_list_says_what_runs_where(serve: Serve) -> None:
    server = serve("full", "-w", "1").ready(1)
    (one,) = json.loads(run(server, Path(server.cwd), "list", "--json").stdout)
    assert (one["pid"], one["state"]) == (server.pid, "ready")
    assert Path(one["directory"]).samefile(server.cwd)
    assert str(one["directory"]) in run(server, Path(server.cwd), "list").stdout


def test_a_server_of_another_directory_is_not_stopped_by_mistake(serve: Serve) -> None:
    server = serve("full", "-w", "1").ready(1)
    elsewhere = Path("/")
    for words in (("stop",), ("scale", "2")):
        done = run(server, elsewhere, *words)
        assert done.returncode == 2
        assert f"aeros {words[0]} {server.pid}, or --yes" in done.stderr
    assert "scaled: 2 workers" in run(server, elsewhere, "scale", "2", "--yes").stdout
    assert run(server, elsewhere, "stop", str(server.pid)).returncode == 0


def test_several_servers_are_told_apart(serve: Serve) -> None:
    first = serve("full", "-w", "1").ready(1)
    second = serve("full", "-w", "1", runtime_dir=first.runtime_dir).ready(1)
    said = run(first, Path(first.cwd), "status").stderr
    for server in (first, second):
        assert f"(pid {server.pid}, {server.url.removesuffix('/')}) in " in said
