"""Programs without an interpreter to start: frozen ones, and such as embed Python. None starts itself instead."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.apps import deploy, source_of
from tests.conftest import Serve
from tests.helpers.conditions import eventually
from tests.helpers.serverproc import REPOSITORY, ServerProcess

#: A frozen program says so, and its interpreter is itself.
FROZEN = "import sys\nsys.frozen, sys.executable = True, {executable!r}\n"
EMBEDDED = "import sys\nsys.executable = {executable!r}\n"


def _itself(folder: Path) -> str:
    """A program of one file: it counts its starts, and is the app."""
    path = folder / "bundle"
    path.write_text(f'#!/bin/sh\necho started >> {folder}/starts\nexec {sys.executable} {folder}/app.py "$@"\n')
    path.chmod(0o755)
    return str(path)


def _frozen(serve: Serve, tmp_path: Path, before: str, *args: str) -> ServerProcess:
    bundle = _itself(tmp_path)
    (tmp_path / "app.py").write_text(before.format(executable=bundle) + source_of("full"))
    return serve(argv=[bundle, "-b", "127.0.0.1:0", "-w", "1", *args])


def _starts(tmp_path: Path) -> int:
    return len((tmp_path / "starts").read_text().splitlines())


@pytest.mark.parametrize(
    ("before", "said"),
    [
        (FROZEN, "a frozen program comes without a Python interpreter"),
        (EMBEDDED, "bundle runs Python code inside, but is no Python interpreter"),
        (EMBEDDED.replace("{executable!r}", "''"), "the path of the Python interpreter is not known"),
        (EMBEDDED.replace("{executable!r}", "None"), "the path of the Python interpreter is not known"),
    ],
)
def test_a_dashboard_is_refused_in_a_sentence(serve: Serve, tmp_path: Path, before: str, said: str) -> None:
    server = _frozen(serve, tmp_path, before, "--admin", "127.0.0.1:0")
    server.expect("aeros: --admin")
    assert server.wait_exit() == 2
    (line,) = server.log.splitlines()
    assert said in line
    assert "leave it out, and look at the server with `aeros top`" in line
    assert _starts(tmp_path) == 1
    server.family_gone()


def test_a_frozen_program_is_reloaded_and_upgraded(serve: Serve, tmp_path: Path) -> None:
    server = _frozen(serve, tmp_path, FROZEN).ready(1)
    text = FROZEN.format(executable=str(tmp_path / "bundle"))
    (tmp_path / "app.py").write_text(text + source_of("full", "v2"))
    done = server.command("reload")
    assert done.returncode == 0, done.stderr
    assert "the same code" not in done.stdout
    assert server.get().json()["version"] == "v2"
    (tmp_path / "app.py").write_text(text + source_of("full", "v3"))
    done = server.command("upgrade")
    assert done.returncode == 0, done.stderr
    assert server.popen.wait(20) == 0
    server.succeeded_by(int(re.findall(r"upgraded: pid (\d+)", done.stdout)[0]))
    assert server.ready(1).get().json()["version"] == "v3"
    assert _starts(tmp_path) == 3


@pytest.mark.parametrize(
    ("before", "said"),
    [
        (FROZEN + "sys._MEIPASS = '/tmp/_MEIabc123'\n", "the program is a single frozen file"),
        (EMBEDDED, "bundle runs Python code inside, but is no Python interpreter"),
        (EMBEDDED.replace("{executable!r}", "None"), "the path of the Python interpreter is not known"),
    ],
)
def test_a_program_that_cannot_be_run_again_says_so(serve: Serve, tmp_path: Path, before: str, said: str) -> None:
    server = _frozen(serve, tmp_path, before).ready(1)
    server.expect("upgrade refused")
    deploy(tmp_path / "app.py", version="v2")
    done = server.command("reload")
    assert done.returncode == 0, done.stderr
    assert f"(the same code: {said}" in done.stdout
    done = server.command("upgrade")
    assert done.returncode == 1
    assert said in done.stderr
    assert server.get().json()["version"] == "v1"
    assert _starts(tmp_path) == 1


@pytest.mark.slow
@pytest.mark.limit_s(1200)
@pytest.mark.parametrize("kind", ["--onedir", "--onefile"])
def test_with_pyinstaller_itself(serve: Serve, tmp_path: Path, kind: str) -> None:
    """Where it is installed: pip install pyinstaller."""
    tool = shutil.which("pyinstaller", path=str(Path(sys.executable).parent))
    if tool is None:
        pytest.skip("pyinstaller is not installed: pip install pyinstaller")
    (tmp_path / "app.py").write_text(source_of("full"))
    command = [tool, kind, "--noconfirm", "--collect-submodules", "aeros", "--collect-submodules", "hypercorn"]
    subprocess.run([*command, "--paths", str(REPOSITORY), "app.py"], cwd=tmp_path, check=True, timeout=1000)
    built = tmp_path / "dist" / ("app/app" if kind == "--onedir" else "app")
    refused = serve(argv=[str(built), "--admin", "127.0.0.1:0"])
    refused.expect("aeros: --admin")
    assert refused.wait_exit() == 2
    server = serve(argv=[str(built), "-b", "127.0.0.1:0", "-w", "1"]).serving(60)
    supervisor = int(server.wait_log(r"supervisor pid (\d+)")[1])
    server.supervisor_pid = supervisor
    done = server.command("reload", str(supervisor))
    assert done.returncode == 0, done.stderr
    assert ("the same code" in done.stdout) == (kind == "--onefile")
    eventually(lambda: server.get().status == 200, 10, "an answer")
    assert len(server.family) <= 7
