"""What somebody less trusted has laid is not opened, given away or written to. As root, in a folder of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aeros.core.process.files import (
    give_folder,
    give_socket,
    is_same_file,
    make_logs,
    open_log,
    open_pid_file,
    remove_if_same,
)
from aeros.core.process.privileges import Account, find_account
from aeros.core.process.signalling import die_with_parent, parent_death_signal

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: only root has something to lose here")


@pytest.fixture
def nobody() -> Account:
    return find_account("nobody")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder of root's in which there is `theirs`, a folder of nobody's, and `secret`, a file of root's alone."""
    path = Path(tempfile.mkdtemp(prefix="aeros-files-"))
    path.chmod(0o755)
    secret = path / "secret"
    secret.write_text("secret\n")
    secret.chmod(0o600)
    theirs = path / "theirs"
    theirs.mkdir()
    os.chown(theirs, pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("nobody").pw_gid)
    yield path
    shutil.rmtree(path)


def append(path: Path, account: Account | None = None) -> None:
    fd = open_log(str(path), account)
    try:
        os.write(fd, b"line\n")
    finally:
        os.close(fd)


def kept_secret(place: Path) -> None:
    found = (place / "secret").stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o600)
    assert (place / "secret").read_text() == "secret\n"


LAID: dict[str, Callable[[Path, Path], None]] = {
    "a symbolic link": lambda trap, secret: trap.symlink_to(secret),
    "a hard link": lambda trap, secret: trap.hardlink_to(secret),
    "a named pipe": lambda trap, secret: os.mkfifo(trap),
    "a device": lambda trap, secret: os.mknod(trap, 0o666 | stat.S_IFCHR, os.makedev(1, 3)),
    "directory": lambda trap, secret: trap.mkdir(),
}


@pytest.mark.parametrize("kind", LAID)
@pytest.mark.parametrize("as_user", [True, False], ids=["run-as", "root"])
def test_what_was_laid_in_the_users_folder_is_refused(place: Path, nobody: Account, kind: str, as_user: bool) -> None:
    trap = place / "theirs" / "access.log"
    LAID[kind](trap, place / "secret")
    before = trap.lstat()
    with pytest.raises(OSError) as caught:
        append(trap, nobody if as_user else None)
    if kind == "a hard link" and as_user:
        assert isinstance(caught.value, PermissionError)  # not even looked at: the user may not write it
    else:
        assert kind in str(caught.value.strerror).lower()
    assert caught.value.filename == str(trap)
    kept_secret(place)
    after = trap.lstat()
    assert (after.st_uid, after.st_mode, after.st_ino) == (before.st_uid, before.st_mode, before.st_ino)


def test_a_hard_link_of_a_file_that_the_user_may_write_is_refused(place: Path, nobody: Account) -> None:
    """The user could write it, root would do it for them: into a file that only looks like theirs."""
    (place / "secret").chmod(0o666)
    (place / "theirs" / "access.log").hardlink_to(place / "secret")
    with pytest.raises(OSError, match="hard link"):
        append(place / "theirs" / "access.log", nobody)
    assert (place / "secret").stat().st_uid == 0


@pytest.mark.parametrize("way", ["theirs/logs/access.log", "theirs/logs/deeper/access.log", "theirs/../theirs/logs/a"])
@pytest.mark.parametrize("as_user", [True, False], ids=["run-as", "root"])
def test_a_folder_on_the_way_may_be_laid_as_well(place: Path, nobody: Account, way: str, as_user: bool) -> None:
    (place / "roots" / "deeper").mkdir(parents=True)
    (place / "theirs" / "logs").symlink_to(place / "roots")
    with pytest.raises(OSError, match="logs on the way is a symbolic link"):
        append(place / way, nobody if as_user else None)
    assert list((place / "roots").iterdir()) == [place / "roots" / "deeper"]
    assert not any((place / "roots" / "deeper").iterdir())


def test_a_link_of_roots_may_lead_to_the_users_folder_where_the_rest_is_checked(place: Path, nobody: Account) -> None:
    (place / "app.log").symlink_to("theirs/access.log")
    append(place / "app.log", nobody)
    assert (place / "theirs" / "access.log").stat().st_uid == nobody.uid
    (place / "theirs" / "access.log").unlink()
    (place / "theirs" / "access.log").symlink_to(place / "secret")
    for account in (nobody, None):
        with pytest.raises(OSError, match="symbolic link"):
            append(place / "app.log", account)
    kept_secret(place)


def test_in_a_folder_of_roots_the_log_is_made_and_given(place: Path, nobody: Account) -> None:
    (place / "logs").mkdir(mode=0o755)
    for log in (place / "logs" / "new.log", place / "logs" / "old.log"):
        if "old" in log.name:
            log.write_text("from before\n")
        append(log, nobody)
        append(log, nobody)
        assert log.stat().st_uid == nobody.uid
        assert log.read_text().endswith("line\nline\n")
    (place / "link.log").symlink_to(place / "logs" / "new.log")
    append(place / "link.log", nobody)
    assert (place / "logs" / "new.log").read_text().count("line") == 3
    assert os.geteuid() == 0
    assert os.getresuid() == (0, 0, 0)


def test_where_everybody_may_lay_files_only_ones_own_will_do(place: Path, nobody: Account) -> None:
    shared = place / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    append(shared / "mine.log")
    append(shared / "mine.log")
    (shared / "theirs.log").touch()
    os.chown(shared / "theirs.log", nobody.uid, nobody.gid)
    with pytest.raises(OSError, match="belongs to user"):
        append(shared / "theirs.log")
    append(shared / "theirs.log", nobody)
    with pytest.raises(PermissionError):
        append(shared / "mine.log", nobody)
    assert (shared / "mine.log").stat().st_uid == 0
    shared.chmod(0o777)
    with pytest.raises(OSError, match="everybody may replace files"):
        append(shared / "mine.log")
    with pytest.raises(OSError, match="everybody may replace files"):
        append(shared / "new.log")
    append(shared / "theirs.log", nobody)  # as the user: nothing of root's is at stake


def test_what_root_itself_names_may_be_a_pipe_or_a_device(place: Path) -> None:
    append(Path("/dev/null"))
    os.mkfifo(place / "pipe")
    append(place / "pipe")  # without a reader: neither waits nor fails
    (place / "link").symlink_to("/dev/null")
    append(place / "link")


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/{}", "/proc/self/fd/{}", "link"])
def test_names_of_descriptors_mean_the_descriptors(place: Path, nobody: Account, name: str) -> None:
    reader, writer = os.pipe()
    try:
        name = name.format(writer)
        if name == "link":
            (place / "link").symlink_to(f"/dev/fd/{writer}")
            name = str(place / "link")
        kept = os.dup(1)
        os.dup2(writer, 1)
        try:
            append(Path(name), nobody)
        finally:
            os.dup2(kept, 1)
            os.close(kept)
        assert os.read(reader, 100) == b"line\n"
    finally:
        os.close(reader)
        os.close(writer)


def test_missing_folders_are_said_by_name(place: Path, nobody: Account) -> None:
    for account in (None, nobody):
        with pytest.raises(FileNotFoundError) as caught:
            make_logs([str(place / "none" / "access.log")], account)
        assert caught.value.filename == str(place / "none" / "access.log")


def test_becoming_the_user_for_a_moment_leaves_nothing_behind(place: Path, nobody: Account) -> None:
    groups = os.getgroups()
    before = parent_death_signal()
    die_with_parent(12)
    try:
        append(place / "theirs" / "access.log", nobody)
        assert parent_death_signal() == 12
    finally:
        die_with_parent(before)
    assert (os.getresuid(), os.getresgid(), os.getgroups()) == ((0, 0, 0), (0, 0, 0), groups)


@pytest.mark.parametrize("kind", LAID)
@pytest.mark.parametrize("folder", ["theirs", "."])
def test_a_pid_file_is_a_file_of_ones_own(place: Path, kind: str, folder: str) -> None:
    trap = place / folder / "server.pid"
    LAID[kind](trap, place / "secret")
    with pytest.raises(OSError) as caught:
        open_pid_file(str(trap))
    assert (kind if kind != "directory" else "folder") in str(caught.value.strerror)
    kept_secret(place)


def test_pid_files_are_removed_by_what_they_are(place: Path, nobody: Account) -> None:
    path = place / "theirs" / "server.pid"
    fd = open_pid_file(str(path))
    try:
        assert is_same_file(str(path), fd)
        path.unlink()
        (place / "theirs" / "other").write_text("1\n")
        path.symlink_to("other")
        assert not is_same_file(str(path), fd)
        remove_if_same(str(path), fd)
        assert path.is_symlink()
        path.unlink()
        path.touch()
        remove_if_same(str(path), fd)
        assert path.exists()
    finally:
        os.close(fd)
    os.chown(path, nobody.uid, nobody.gid)
    with pytest.raises(OSError, match="belongs to user"):
        open_pid_file(str(path))


def test_folders_and_sockets_are_given_without_following(place: Path, nobody: Account) -> None:
    import socket

    mine, theirs = place / "mine", place / "theirs"
    mine.mkdir()
    give_folder(str(mine), nobody)
    assert mine.stat().st_uid == nobody.uid
    give_folder(str(mine), nobody)
    (theirs / "metrics").symlink_to(place)
    with pytest.raises(OSError, match="symbolic link"):
        give_folder(str(theirs / "metrics"), nobody)
    assert place.stat().st_uid == 0
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(theirs / "s"))
        give_socket(str(theirs / "s"), nobody.uid, -1)
        assert (theirs / "s").lstat().st_uid == nobody.uid
    (theirs / "s").unlink()
    for lay in (
        lambda: (theirs / "s").symlink_to(place / "secret"),
        lambda: (theirs / "s").hardlink_to(place / "secret"),
    ):
        lay()
        with pytest.raises(OSError):
            give_socket(str(theirs / "s"), nobody.uid, -1)
        (theirs / "s").unlink()
    kept_secret(place)
