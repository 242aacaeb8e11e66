"""Files that the app's user lays in the way of a server of root's: at start, SIGUSR1, reload and upgrade."""

from __future__ import annotations

import os
import pwd
import re
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.helpers.conditions import eventually
from tests.helpers.http import address_of, get
from tests.integration.test_run_as import as_nobody

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: only root has something to lose here")

LAID: dict[str, Callable[[Path, Path], object]] = {
    "symbolic link": lambda trap, secret: trap.symlink_to(secret),
    "link to nothing": lambda trap, secret: trap.symlink_to(secret.with_name("made-by-root")),
    "hard link": lambda trap, secret: trap.hardlink_to(secret),
    "named pipe": lambda trap, secret: os.mkfifo(trap),
    "folder": lambda trap, secret: trap.mkdir(),
    "device": lambda trap, secret: os.mknod(trap, 0o666 | stat.S_IFCHR, os.makedev(1, 3)),
}


class Place:
    """A folder of nobody's with logs, and files of root's that must stay as they are."""

    def __init__(self, folder: Path) -> None:
        self.logs = folder / "logs"
        self.logs.mkdir()
        nobody = pwd.getpwnam("nobody")
        os.chown(self.logs, nobody.pw_uid, nobody.pw_gid)
        self.private = folder / "private"
        self.private.mkdir(mode=0o700)
        self.secret = self.private / "secret"
        self.secret.write_text("secret\n")
        self.secret.chmod(0o600)
        self.access, self.error = self.logs / "access.log", self.logs / "error.log"

    @property
    def options(self) -> tuple[str, ...]:
        return ("-w", "1", "--access-logfile", str(self.access), "--error-logfile", str(self.error))

    def lay(self, kind: str) -> None:
        for log in (self.access, self.error):
            log.unlink(missing_ok=True)
            LAID[kind](log, self.secret)

    def assert_untouched(self) -> None:
        assert list(self.private.iterdir()) == [self.secret]
        found = self.secret.stat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (0, 0, 0o600)
        assert self.secret.read_text() == "secret\n"


@pytest.fixture
def place(open_folder: Path) -> Place:
    return Place(open_folder)


@pytest.mark.parametrize("kind", LAID)
def test_at_the_start_it_is_refused_in_a_sentence(serve: Serve, open_folder: Path, place: Place, kind: str) -> None:
    place.lay(kind)
    server = as_nobody(serve, open_folder, *place.options)
    assert server.wait_exit() == 2
    assert f"cannot write the log {place.error} (--error-logfile)" in server.log
    assert server.log.count("\n") == 1, "one sentence"
    place.assert_untouched()


@pytest.mark.limit_s(240)
def test_while_it_runs_the_old_files_are_kept(serve: Serve, open_folder: Path, place: Place) -> None:
    server = as_nobody(serve, open_folder, *place.options)
    server.expect("cannot reopen", "reload", "upgrade")
    eventually(lambda: server.control_path.exists() and server.ready_pids(), 30)
    found = eventually(lambda: re.search(r"(http://[\d.]+:\d+)", place.error.read_text()), 30)
    address = address_of(found[1])
    for kind in LAID:
        old_access, old_error = place.logs / f"{kind}.access", place.logs / f"{kind}.error"
        reopened = place.error.read_text().count("log files reopened")
        place.access.rename(old_access)
        place.error.rename(old_error)
        place.lay(kind)
        server.send_signal(signal.SIGUSR1)
        eventually(lambda old=old_error, n=reopened: old.read_text().count("log files reopened") > n, 10)
        said = old_error.read_text()
        assert said.count(f"cannot reopen the log {place.access}: ") == 1
        assert said.count(f"cannot reopen the log {place.error}: ") == 1
        assert said.count("cannot reopen") == 2, "and nobody says it again"
        before = old_access.read_text().count("\n") if old_access.exists() else 0
        assert get(address).status == 200
        eventually(lambda old=old_access, n=before: old.read_text().count("\n") > n, 10, "the old file goes on")
        for command in ("reload", "upgrade") if "link" in kind else ():
            done = server.command(command, str(server.pid))
            assert done.returncode == 1, done.stderr + done.stdout
            assert "cannot write the log" in done.stderr + done.stdout
        assert get(address).status == 200
        place.assert_untouched()
        for log in (place.access, place.error):
            log.rmdir() if log.is_dir() and not log.is_symlink() else log.unlink()
        server.send_signal(signal.SIGUSR1)

        def goes_on() -> bool:
            get(address)
            return "GET /" in place.access.read_text() and "log files reopened" in place.error.read_text()

        eventually(goes_on, 10, "a line in the new file")
    assert server.stop() == 0


def test_pid_files_that_are_none_are_left_alone(serve: Serve, open_folder: Path, place: Place) -> None:
    text = open_folder / "notes.txt"
    text.write_text("4711 is not a pid\n")
    (open_folder / "link.pid").symlink_to(text)
    os.mkfifo(open_folder / "pipe.pid")
    for name, why in (
        (str(text), "it holds something else than a pid"),
        (str(open_folder / "link.pid"), "it is a symbolic link"),
        (str(open_folder / "pipe.pid"), "it is a named pipe"),
        ("/dev/null", "it is a device"),
        (str(open_folder), "it is a folder"),
    ):
        server = serve("plain", "-w", "1", "--pid-file", name)
        assert server.wait_exit() == 2
        assert f"cannot use the pid file {name}: {why}" in server.log
        assert server.log.count("\n") == 1
    assert text.read_text() == "4711 is not a pid\n"
    for content in ("", "4711\n"):
        (open_folder / "good.pid").write_text(content)
        server = serve("plain", "-w", "1", "--pid-file", str(open_folder / "good.pid")).ready()
        assert (open_folder / "good.pid").read_text() == f"{server.pid}\n"
        assert server.stop() == 0
        assert not (open_folder / "good.pid").exists()


def test_a_pid_file_that_is_replaced_meanwhile_stays(serve: Serve, place: Place) -> None:
    path = place.logs / "server.pid"
    server = serve("plain", "-w", "1", "--pid-file", str(path)).ready()
    path.unlink()
    path.symlink_to(place.secret)
    assert server.stop() == 0
    assert path.is_symlink()
    place.assert_untouched()
