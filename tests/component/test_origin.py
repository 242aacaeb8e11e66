"""The directory and the environment of a start, told after the program has changed both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from aeros.core.process.origin import for_the_next_run, parse_environment
from tests.helpers.serverproc import REPOSITORY

#: What is said when the process has started a server, after the program has gone elsewhere.
SAYS = """
import os, sys
{before}
import aeros
def main():
    os.chdir("/usr")
    os.environ["ADDED"] = "1"
    os.environ.pop("GIVEN", None)
    sys.path.insert(0, "/usr")
    from aeros.core.process.origin import directory_of_start, environment_of_start
    import json
    print(json.dumps([directory_of_start(), environment_of_start()]))
if __name__ == "__main__":
    main()
"""

WAYS = {
    "script": ["app.py"],
    "dotted script": ["./app.py"],
    "script in a folder": ["src/app.py", "app.py"],
    "script beside": ["../here/src/app.py"],
    "script named as its argument": ["app.py", "/app.py", "app.py"],
    "absolute script": ["{cwd}/src/app.py", "app.py"],
    "folder": ["src"],
    "folder with a slash": ["src/"],
    "this folder": ["."],
    "this folder with a slash": ["./"],
    "absolute folder": ["{cwd}/src"],
    "zip file": ["app.pyz"],
    "dotted zip file": ["./app.pyz"],
    "absolute zip file": ["{cwd}/app.pyz"],
    "package": ["-m", "src.pkg"],
    "module": ["-m", "src.app"],
    "module, safe path": ["-P", "-m", "app"],
    "isolated script": ["-I", "src/app.py"],
    "with options": ["-X", "utf8", "-Wdefault", "src/app.py", "--", "-m"],
    "command": ["-c", "import app; app.main()"],
    "linked script": ["linked.py"],
}
#: These say nothing of the directory, so it is that of the import of Aeros.
KNOWN_BY_IMPORT = ("absolute script", "absolute folder", "absolute zip file", "module, safe path", "command")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    (folder / "src" / "pkg").mkdir(parents=True)
    layout(folder, "")
    (folder / "linked.py").symlink_to("src/app.py")
    (folder / "runs").write_text(f"#!{sys.executable}\n" + SAYS.format(before=""))
    (folder / "runs").chmod(0o755)
    return folder


def layout(folder: Path, before: str) -> None:
    text = SAYS.format(before=before)
    for place in ("app.py", "__main__.py", "src/app.py", "src/__main__.py", "src/pkg/__main__.py"):
        (folder / place).write_text(text)
    with zipfile.ZipFile(folder / "app.pyz", "w") as archive:
        archive.writestr("__main__.py", text)


def told(argv: Sequence[str], cwd: Path, env: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    # -I heeds no variable; so Aeros is where it is installed.
    base = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{REPOSITORY}:{cwd}", "GIVEN": "by hand"}
    done = subprocess.run(argv, cwd=cwd, env=base | env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    directory, environment = json.loads(done.stdout)
    return directory, environment


@pytest.mark.parametrize("way", WAYS)
def test_the_directory_of_the_start(here: Path, way: str) -> None:
    """By each way, with a PWD that is right, missing, and left from another directory."""
    argv = [sys.executable, *(argument.format(cwd=here) for argument in WAYS[way])]
    for pwd in ({"PWD": str(here)}, {}, {"PWD": "/usr"}, {"PWD": "."}):
        directory, environment = told(argv, here, pwd)
        assert os.path.normpath(directory) == str(here), pwd
        assert environment["GIVEN"] == "by hand"
        assert "ADDED" not in environment


@pytest.mark.parametrize("way", [way for way in WAYS if way not in KNOWN_BY_IMPORT])
def test_the_directory_where_the_program_leaves_it_before_it_imports_aeros(here: Path, way: str) -> None:
    layout(here, "os.chdir('/')")
    argv = [sys.executable, *WAYS[way]]
    assert os.path.normpath(told(argv, here, {})[0]) == str(here)


def test_a_script_that_is_a_program_by_itself(here: Path) -> None:
    assert os.path.normpath(told(["./runs"], here, {})[0]) == str(here)
    assert told(["runs"], here, {"PATH": f"{here}:/usr/bin"})[0] == str(here)


def test_a_symlink_that_the_shell_came_by_is_kept(here: Path) -> None:
    link = here.parent / "current"
    link.symlink_to(here)
    for way in ("script", "package", "command", "zip file", "absolute script"):
        argv = [sys.executable, *(argument.format(cwd=link) for argument in WAYS[way])]
        assert told(argv, link, {"PWD": str(link)})[0] == str(link)
        assert told(argv, link, {})[0] == str(here), "nobody could know"


def test_a_directory_that_is_gone(here: Path) -> None:
    gone = here / "gone"
    gone.mkdir()
    argv = ["/bin/sh", "-c", f"cd {gone} && rmdir {gone} && exec {sys.executable} {here}/app.py"]
    assert told(argv, here, {})[0] == str(gone)


def test_a_title_over_the_environment_is_not_taken_for_one(here: Path) -> None:
    title = "import setproctitle; setproctitle.setproctitle('x=' * 3000); os.environ['SET_SINCE'] = '1'"
    layout(here, title)
    environment: dict[str, Any] = told([sys.executable, "app.py"], here, {})[1]
    assert environment["GIVEN"] == "by hand", "the next best: what there is when aeros is imported"
    assert environment["SET_SINCE"] == "1"


def test_environment_blocks() -> None:
    assert parse_environment(b"") == {}
    assert parse_environment(b"A=1\0B=\0A=2\0C==\n\0") == {"A": "1", "B": "", "C": "=\n"}
    assert parse_environment(b"A=1\0\xff=\xfe\0") == {"A": "1", "\udcff": "\udcfe"}
    for written_over in (b"aeros: worker", b"\0\0\0", b"A=1\0\0\0", b"=1\0", b"itle\0A=1\0"):
        assert parse_environment(written_over) is None


def test_what_was_meant_for_one_run_is_not_for_the_next() -> None:
    kept = {"A": "1", "AEROS_WORKERS": "2", "PYTHONFAULTHANDLER": "1"}
    one_run = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "1", "LISTEN_FDS": "1", "AEROS_INTERNAL_UPGRADE": "3"}
    assert for_the_next_run(kept | one_run) == kept
    ours = {"AEROS_INTERNAL_CHANNEL": "3+faulthandler"}
    assert for_the_next_run(kept | ours) == {"A": "1", "AEROS_WORKERS": "2"}
