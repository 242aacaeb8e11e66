"""scripts/package: what the built files say and hold, and whether the wheel serves in an empty environment.

python -m tests.package DIST PYTHON …
"""

from __future__ import annotations

import email
import email.message
import os
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

from aeros.version import __version__

from .helpers.conditions import eventually

APP = """
from aeros import WebServer

app = WebServer(__name__)


@app.get("/")
async def home():
    return "served"
"""
#: Asked in the new environment, where no clone is near.
QUESTIONS = """
from importlib.metadata import entry_points, version
from pathlib import Path
import aeros, Aeros, aioquic, prometheus_client
assert version("aeros") == aeros.__version__, version("aeros")
assert "site-packages" in aeros.__file__, aeros.__file__
assert Path(aeros.__file__).with_name("py.typed").exists()
assert Path(aeros.__file__).with_name("dashboard").joinpath("page").is_dir()
assert Aeros.WebServer is aeros.WebServer
assert [each.value for each in entry_points(group="pytest11", name="aeros")] == ["aeros.testing.plugin"]
print(aeros.__version__)
"""


def one(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def check_metadata(wheel: Path) -> None:
    """What an index shows: who, where, which licence; no link that leads nowhere outside the repository."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (place,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        metadata = email.message_from_bytes(archive.read(place))
    assert metadata["Version"] == __version__, metadata["Version"]
    assert metadata["Author"] == "Aeros contributors", metadata["Author"]
    assert metadata["License-Expression"] == "MIT"
    assert len(metadata.get_all("Project-URL", [])) == 5
    assert "Programming Language :: Python :: 3.15" in metadata.get_all("Classifier", [])
    links = re.findall(r"\]\(([^)\s]+)\)", str(metadata.get_payload()))
    assert len(links) > 10
    assert not [link for link in links if not re.match(r"https?://|#", link)], links
    strangers = {name.split("/")[0] for name in names} - {"aeros", "Aeros.py", place.split("/")[0]}
    assert not strangers, f"the wheel has {strangers}"


def check_source(sdist: Path, folder: Path) -> None:
    """The source distribution has what a packager needs, and the tests are found and run there."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    unpacked = one(folder, "aeros-*")
    for name in ("tests", "docs", "examples", "scripts", "deploy", "benchmarks", "LICENSE", "CHANGELOG.md"):
        assert (unpacked / name).exists(), f"{sdist.name} has no {name}"
    for arguments in (["--collect-only", "tests/integration"], ["tests/unit/test_docs.py"]):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
            cwd=unpacked,
            env=os.environ | {"PYTHONPATH": str(unpacked)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        print(f"{sdist.name}: pytest {' '.join(arguments)}: {done.stdout.strip().splitlines()[-1]}")


def check_use(wheel: Path, python: str, folder: Path) -> None:
    """Install the wheel in a folder whose name has a space; ask it, start it, get an answer, stop it."""
    place = folder / "an empty environment"
    run([python, "-m", "venv", "--clear", str(place)], folder)
    mine = str(place / "bin/python")
    run([mine, "-m", "pip", "install", "-q", "--disable-pip-version-check", f"{wheel.resolve()}[standard]"], folder)
    assert run([mine, "-I", "-c", QUESTIONS], folder) == __version__
    assert run([str(place / "bin/aeros"), "--version"], folder) == f"aeros {__version__}"
    (folder / "app.py").write_text(APP)
    log = folder / "log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            [place / "bin/aeros", "run", "app", "-w", "2", "-b", "127.0.0.1:0"], cwd=folder, env=clean(), stderr=out
        )
    try:
        url = eventually(found(log, r"serves app at (http://\S+)", server), 30)
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert answer.read() == b"served"
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0, log.read_text()
    finally:
        server.kill()
        server.wait()
    print(f"{wheel.name}: installed, started, asked and stopped with {run([mine, '-V'], folder)}")


def found(log: Path, pattern: str, server: subprocess.Popen[bytes]) -> Callable[[], str]:
    def look() -> str:
        assert server.poll() is None, log.read_text()
        match = re.search(pattern, log.read_text())
        return match[1] if match else ""

    return look


def clean() -> dict[str, str]:
    """The environment without what would let a clone be found."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "AEROS", "VIRTUAL"))}


def run(argv: list[str], folder: Path) -> str:
    done = subprocess.run(argv, cwd=folder, env=clean(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def main(dist: str, *pythons: str) -> None:
    wheel, sdist = one(Path(dist), "*.whl"), one(Path(dist), "*.tar.gz")
    check_metadata(wheel)
    for each in pythons:
        with tempfile.TemporaryDirectory(prefix="aeros-package-") as folder:
            check_use(wheel, each, Path(folder))
    with tempfile.TemporaryDirectory(prefix="aeros-package-") as folder:
        check_source(sdist, Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
