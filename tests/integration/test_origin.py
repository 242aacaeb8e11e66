"""A reload runs the program as the start did: in the same environment and directory, whatever it has done since."""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from aeros import AerosError
from tests.conftest import Serve
from tests.helpers.conditions import eventually
from tests.helpers.serverproc import ServerProcess, run_command

#: Reads a .env as python-dotenv does: what is set already stays.
DOTENV = """
import os
from pathlib import Path
from aeros import WebServer

for line in Path(".env").read_text().splitlines():
    name, _, value = line.partition("=")
    os.environ.setdefault(name, value)
os.environ["PATH"] = "/added:" + os.environ["PATH"]
os.environ["PASSED_ON"] = os.environ.get("PASSED_ON", "") + "x"

app = WebServer(__name__)
names = ("SETTING", "PATH", "PASSED_ON", "GIVEN", "NOTIFY_SOCKET", "PYTHONFAULTHANDLER")

@app.get("/")
async def home():
    told = [name for name in os.environ if name.startswith("AEROS_INTERNAL")]
    return {"told": told} | {name: os.environ.get(name) for name in names}

if __name__ == "__main__":
    app.start("-w 1 -b 127.0.0.1:0")
"""

#: Goes to its own directory, as many do to find their files.
MOVES = """
import os, sys
{before}
from aeros import WebServer

os.chdir({where})
app = WebServer("moves")
started_in = os.environ.get("STARTED_IN")

@app.get("/")
async def home():
    return {{"argv": sys.argv[1:]}}

def main():
    app.start("-w 1 -b 127.0.0.1:0")

if __name__ == "__main__":
    main()
"""
BESIDE_IT = "os.path.dirname(os.path.abspath(__file__))"


Starts = Callable[..., ServerProcess]


@pytest.fixture
def start(serve: Serve) -> Starts:
    """start(arguments, cwd, env): Python with these arguments, there. unset: a variable that it does not get."""

    def start(arguments: Sequence[str], cwd: Path, env: Mapping[str, str], unset: str = "") -> ServerProcess:
        without = ["/usr/bin/env", "-u", unset] if unset else []
        return serve(argv=[*without, sys.executable, *arguments], cwd=cwd, env=env)

    return start


def reload(server: ServerProcess, times: int = 1) -> None:
    """Reload, which fails the test with the server's own reason where it is refused."""
    for _ in range(times):
        try:
            server.handle().reload(timeout=30)
        except AerosError as error:
            raise AssertionError(f"{error}\n{server.log}") from None


def upgrade(server: ServerProcess) -> None:
    done = server.handle().upgrade(timeout=40)
    server.succeeded_by(done.pid)
    server.settled()


@pytest.mark.parametrize("how", ["program", "aeros run"])
def test_every_generation_gets_the_environment_of_the_start(start: Starts, tmp_path: Path, how: str) -> None:
    (tmp_path / "app.py").write_text(DOTENV)
    (tmp_path / ".env").write_text("SETTING=first\n")
    arguments = ["app.py"] if how == "program" else ["-m", "aeros", "run", "app:app", "-w", "1", "-b", "127.0.0.1:0"]
    path = os.environ["PATH"]
    server = start(arguments, tmp_path, {"GIVEN": "by hand"}).ready(1)
    same = {"told": [], "PATH": f"/added:{path}", "PASSED_ON": "x", "GIVEN": "by hand"}
    same |= {"NOTIFY_SOCKET": None, "PYTHONFAULTHANDLER": None}
    assert server.get().json() == same | {"SETTING": "first"}
    (tmp_path / ".env").write_text("SETTING=second\n")
    reload(server, 2)
    assert server.get().json() == same | {"SETTING": "second"}
    (tmp_path / ".env").write_text("SETTING=third\n")
    upgrade(server)
    eventually(lambda: server.get().json() == same | {"SETTING": "third"}, 10, "the new supervisor's workers alone")
    (tmp_path / ".env").write_text("SETTING=fourth\n")
    reload(server)
    assert server.get().json() == same | {"SETTING": "fourth"}


def test_a_value_that_was_there_at_the_start_is_there_again(start: Starts, tmp_path: Path) -> None:
    """Also one that the program took away, and one with a faulthandler of the user's own."""
    program = DOTENV.replace("names =", 'os.environ.pop("SETTING")\nnames =')
    (tmp_path / "app.py").write_text(program)
    (tmp_path / ".env").write_text("SETTING=file\n")
    server = start(["app.py"], tmp_path, {"SETTING": "given", "PYTHONFAULTHANDLER": "1"}).ready(1)
    reload(server, 2)
    assert server.get().json()["PYTHONFAULTHANDLER"] == "1"


def test_titles_that_overwrite_the_environment_change_nothing(start: Starts, tmp_path: Path) -> None:
    """The title of the supervisor takes the room of the environment that the kernel shows."""
    (tmp_path / "app.py").write_text(DOTENV)
    (tmp_path / ".env").write_text("SETTING=first\n")
    server = start(["app.py"], tmp_path, {}, unset="SPT_NOENV").ready(1)
    (tmp_path / ".env").write_text("SETTING=second\n")
    reload(server, 2)
    assert server.get().json()["SETTING"] == "second"
    assert server.get().json()["PASSED_ON"] == "x"


def test_the_dashboard_gets_the_environment_of_the_start(start: Starts, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(DOTENV.replace("-w 1", "-w 1 --admin 127.0.0.1:0"))
    (tmp_path / ".env").write_text("SETTING=first\n")
    server = start(["app.py"], tmp_path, {"GIVEN": "by hand"}).ready(1)

    def environment() -> bytes | None:
        for pid in server.family:
            if b"aeros.dashboard" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return Path(f"/proc/{pid}/environ").read_bytes()
        return None

    found = b"\0" + (eventually(environment, 10, "the dashboard's process") or b"")
    assert b"\0GIVEN=by hand\0" in found
    assert b"\0SETTING=" not in found
    assert b"\0PASSED_ON=" not in found


SERVED = ["-w", "1", "-b", "127.0.0.1:0"]
WAYS = {
    "script": ["src/app.py", "x"],
    "absolute script": ["{cwd}/src/app.py"],
    "package": ["-m", "src.pkg"],
    "zip file": ["app.pyz"],
    "command": ["-c", "import src.app; src.app.main()"],
    "run a file": ["-m", "aeros", "run", "src/app.py:app", *SERVED],
    "run a module": ["-P", "-m", "aeros", "run", "src.app:app", *SERVED],
}


def layout(folder: Path, before: str = "") -> None:
    (folder / "src" / "pkg").mkdir(parents=True)
    program = MOVES.format(before=before, where=BESIDE_IT)
    (folder / "src" / "app.py").write_text(program)
    (folder / "src" / "pkg" / "__main__.py").write_text(program)
    with zipfile.ZipFile(folder / "app.pyz", "w") as archive:
        archive.writestr("__main__.py", MOVES.format(before=before, where="'/'"))


@pytest.mark.parametrize("way", WAYS)
def test_a_program_that_changes_its_directory_is_found_again(start: Starts, tmp_path: Path, way: str) -> None:
    """Each way of starting at all is in tests/component/test_origin.py."""
    layout(tmp_path)
    server = start([argument.format(cwd=tmp_path) for argument in WAYS[way]], tmp_path, {}).ready(1)
    reload(server, 2)
    if way in ("package", "run a module"):
        upgrade(server)
        reload(server)
    assert server.get().status == 200


def test_a_change_of_directory_before_the_import_of_aeros(start: Starts, tmp_path: Path) -> None:
    layout(tmp_path, before="os.chdir('/')")
    server = start(["src/app.py"], tmp_path, {}, unset="PWD").ready(1)
    reload(server)
    assert server.get().status == 200


def test_a_switched_symlink_is_followed_after_a_change_of_directory(start: Starts, tmp_path: Path) -> None:
    releases = [tmp_path / "one", tmp_path / "two"]
    for release in releases:
        release.mkdir()
        layout(release)
        (release / "src" / "app.py").write_text(
            MOVES.format(before="", where=BESIDE_IT).replace("sys.argv[1:]", repr(release.name))
        )
    link = tmp_path / "current"
    link.symlink_to(releases[0])
    server = start(["src/app.py"], link, {"PWD": str(link)}).ready(1)
    assert server.get().json() == {"argv": "one"}
    link.unlink()
    link.symlink_to(releases[1])
    reload(server)
    assert server.get().json() == {"argv": "two"}
    server.wait_log(rf"reloaded: generation 2 serves after .* from {releases[1]}/src$")


def test_chdir_follows_a_symlink_that_nobody_else_told_of(start: Starts, tmp_path: Path) -> None:
    """As supervisord does it: the directory is a symlink, and PWD does not say so."""
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "shop.py").write_text(
            MOVES.format(before="", where="'/'").replace("sys.argv[1:]", repr(name))
        )
    link = tmp_path / "current"
    link.symlink_to("one")
    server = start(["-m", "aeros", "run", "--chdir", "current", "shop:app", *SERVED], tmp_path, {}, unset="PWD").ready(
        1
    )
    assert server.get().json() == {"argv": "one"}
    for generation, name in ((2, "two"), (3, "three")):
        link.unlink()
        link.symlink_to(name)
        if name == "two":
            reload(server)
            server.wait_log(rf"reloaded: generation {generation} serves after .* from /$")
        else:
            upgrade(server)
        eventually(lambda name=name: server.get().json() == {"argv": name}, 10, f"the code of {name}")


def test_a_chdir_that_does_not_lead_anywhere(start: Starts, tmp_path: Path) -> None:
    layout(tmp_path)
    (tmp_path / "current").symlink_to("src")
    arguments = ["-m", "aeros", "run", "--chdir", str(tmp_path / "current"), "app:app", *SERVED]
    server = start(arguments, tmp_path, {}).ready(1)
    (tmp_path / "current").unlink()
    with pytest.raises(AerosError, match=r"--chdir .*current: No such file or directory"):
        server.handle().reload(timeout=30)
    server.expect(r"reload refused", r"aeros: --chdir")
    assert server.get().status == 200
    for command in (["run", "app:app"], ["doctor"]):
        done = run_command([sys.executable, "-m", "aeros", *command, "--chdir", "nowhere"], tmp_path, tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "aeros: --chdir nowhere: No such file or directory\n"
