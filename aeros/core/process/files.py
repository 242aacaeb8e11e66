"""Opening what somebody less trusted may have laid: logs, pid files, socket files, folders handed to the app's user.

Whoever may write a folder decides what a name in it means: a symbolic link to /etc/shadow, a second name (hard link) of
a file of root's, a pipe that blocks who opens it. So the way to a file is walked folder by folder, by descriptors: what
was looked at is what is opened. Links are followed as long as only trusted users could have laid them.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
from collections.abc import Callable, Iterator
from typing import Literal

from ..record import mutable
from .privileges import Account, acting_as

#: Names that mean a descriptor of this process. Nobody can lay those, and /dev/stdout is a usual log in containers.
_DESCRIPTOR = re.compile(r"/dev/(stdin|stdout|stderr)|/(?:dev|proc/self)/fd/(\d+)")
_STANDARD = {"stdin": 0, "stdout": 1, "stderr": 2}
#: O_PATH: a folder may be one that can be passed, but not listed.
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
#: A name that has just become a pipe or a terminal must neither block us nor become our terminal.
_SAFELY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_APPEND = os.O_WRONLY | os.O_APPEND
#: As many symbolic links on the way as the kernel follows.
_MOST_LINKS = 40

_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_log(path: str, account: Account | None = None) -> int:
    """Return a descriptor that appends to the log at `path`, which is made if it is missing.

    account: whom the app runs as. The file is opened as that user, and where root alone may make files, made by root
    and given to the user. Raises OSError, its strerror a reason for people.
    """
    number = _descriptor(path)
    if number is not None:
        return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3)
    other = None if account is None or account.is_mine else account
    with _place(path, other) as place:
        if place.number is not None:
            return fcntl.fcntl(place.number, fcntl.F_DUPFD_CLOEXEC, 3)
        if other is None:
            return place.open(_APPEND, place.check_log)
        try:
            with acting_as(other):
                return place.open(_APPEND, place.check_log)
        except PermissionError:
            if place.writable != "by_us":
                raise
        return place.give(place.open(_APPEND, place.check_log), other)


def make_logs(paths: list[str], account: Account | None = None) -> None:
    """Open each log once, so that whoever opens it next can. Raises OSError with the path as its `filename`."""
    for path in paths:
        os.close(open_log(path, account))


def open_pid_file(path: str) -> int:
    """Return a descriptor to read and write the pid file at `path`, made if it is missing. Raises OSError."""
    with _place(path, None, follow_last=False) as place:
        return place.open(os.O_RDWR, place.check_pid_file)


def is_same_file(path: str, fd: int) -> bool:
    """Whether the name `path` means the very file that `fd` is."""
    with contextlib.suppress(OSError):
        return os.path.samestat(os.lstat(path), os.fstat(fd))
    return False


def remove_if_same(path: str, fd: int) -> None:
    """Remove the name `path` if it means the very file that `fd` is."""
    with contextlib.suppress(OSError), _place(path, None, follow_last=False) as place:
        found = place.look()
        if found is not None and os.path.samestat(found, os.fstat(fd)):
            os.unlink(place.name, dir_fd=place.folder)


def give_folder(path: str, account: Account) -> None:
    """Make the folder at `path` the user's, if it is not already. Raises OSError, its strerror a reason for people."""
    with _place(path, account) as place:
        fd = os.open(place.name, os.O_RDONLY | os.O_DIRECTORY | _SAFELY, dir_fd=place.folder)
        try:
            owner = os.fstat(fd).st_uid
            if owner == account.uid:
                return
            if owner not in place.trusted:
                raise _refused(path, f"it belongs to user {owner}")
            os.fchown(fd, account.uid, account.gid)
        finally:
            os.close(fd)


def give_socket(path: str, user: int, group: int) -> None:
    """Give the socket file at `path` to a user and a group, -1: as it is. Raises OSError."""
    if not hasattr(os, "O_PATH"):
        os.chown(path, user, group, follow_symlinks=False)
        return
    # The folder may be the user's, and what is there now another file: so what is looked at is what is given.
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            raise _refused(path, "the socket was replaced by another file")
        os.chown(f"/proc/self/fd/{fd}", user, group)
    finally:
        os.close(fd)


def _descriptor(path: str) -> int | None:
    """Return the number of the descriptor that `path` means, None if it means a file."""
    found = _DESCRIPTOR.fullmatch(path)
    if found is None:
        return None
    return _STANDARD[found[1]] if found[1] else int(found[2])


def _refused(path: str, why: str) -> OSError:
    return OSError(errno.EPERM, why, path)


def _kind(mode: int) -> str:
    return next((name for is_it, name in _KINDS if is_it(mode)), "a file")


@mutable
class _Place:
    """A name in an open folder.

    writable: who may lay names there: "by_us" alone (and whom we trust), "sticky": anybody, but nobody can replace
    what is another's, or "by_others". number: of the descriptor that the way led to instead, else None.
    """

    path: str
    trusted: frozenset[int]
    account: Account | None
    folder: int = -1
    name: str = ""
    writable: Literal["by_us", "sticky", "by_others"] = "by_us"
    number: int | None = None

    def walk(self, follow_last: bool) -> None:
        """Go to the folder of the last name. Raises OSError."""
        todo = _names(os.path.join(os.getcwd(), self.path))  # noqa: PTH109, PTH118 - pathlib would take ".." away
        if not todo:
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), self.path)
        links = 0
        self._enter("/")
        while True:
            self.name = todo.pop()
            if (follow_last or todo) and self._is_link():
                links += 1
                target = self._follow(links)
                if target.startswith("/"):
                    self._enter("/")
                todo += _names(target)
                self.number = _descriptor("/" + "/".join(reversed(todo)))
                if self.number is not None or not todo:
                    return
            elif todo:
                self._enter(self.name)
            else:
                return

    def _is_link(self) -> bool:
        found = self.look()
        return found is not None and stat.S_ISLNK(found.st_mode)

    def _follow(self, links: int) -> str:
        if self.writable != "by_us":
            raise _refused(self.path, f"{self.name} on the way is a symbolic link that another user may have laid")
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), self.path)
        return os.readlink(self.name, dir_fd=self.folder)

    def _enter(self, name: str) -> None:
        """Make the folder `name` the one we stand in."""
        before = self.folder
        try:
            if name == "/":
                self.folder, self.writable = os.open("/", _FOLDER), "by_us"
            else:
                self.folder = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=before)
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.path) from None
        finally:
            if before >= 0 and self.folder != before:
                os.close(before)
        if self.writable != "by_others":  # who may replace a folder decides all that is in it
            self.writable = self._who_may_write(os.fstat(self.folder))

    def _who_may_write(self, folder: os.stat_result) -> Literal["by_us", "sticky", "by_others"]:
        if folder.st_uid not in self.trusted:
            return "by_others"
        mode, group = folder.st_mode, folder.st_gid
        if self.account is not None:
            by_group = group in {self.account.gid, *self.account.groups}
        else:
            by_group = group not in {0, os.getegid(), *os.getgroups()}
        if not mode & stat.S_IWOTH and not (mode & stat.S_IWGRP and by_group):
            return "by_us"
        return "sticky" if mode & stat.S_ISVTX else "by_others"

    def look(self) -> os.stat_result | None:
        """Return what the name stands for, a link for itself; None: nothing."""
        try:
            return os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.path) from None

    def open(self, flags: int, check: Callable[[os.stat_result], None]) -> int:
        """Open the file, or make it. check: raises OSError for one that is not to be used."""
        self._check_folder()
        found = self.look()
        try:
            if found is None:
                # First without O_CREAT: Linux forbids root to open another's file in /tmp with it (protected_regular).
                return os.open(self.name, flags | _SAFELY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=self.folder)
            check(found)
            if stat.S_ISFIFO(found.st_mode):
                # To write alone fails while nobody reads, and a log without a reader is no reason not to serve.
                flags = flags & ~os.O_WRONLY | os.O_RDWR
            fd = os.open(self.name, flags | _SAFELY, dir_fd=self.folder)
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.path) from None
        try:
            check(os.fstat(fd))  # it may have been replaced in between
            os.set_blocking(fd, True)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def check_log(self, found: os.stat_result) -> None:
        if stat.S_ISDIR(found.st_mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), self.path)
        if self.writable == "by_us":
            return
        if not stat.S_ISREG(found.st_mode):
            if self.writable == "sticky" and found.st_uid in self.trusted and not stat.S_ISLNK(found.st_mode):
                return  # nobody else can have made or moved it
            raise _refused(self.path, f"it is {_kind(found.st_mode)}, in a folder that another user may write")
        self._check_regular(found, {os.fstat(self.folder).st_uid})

    def check_pid_file(self, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise _refused(self.path, f"it is {_kind(found.st_mode)}")
        self._check_regular(found, set() if self.writable != "by_us" else {found.st_uid})

    def _check_folder(self) -> None:
        mode = os.fstat(self.folder).st_mode
        if os.geteuid() == 0 and mode & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH:
            raise _refused(self.path, "everybody may replace files in its folder (chmod o-w, or +t)")

    def _check_regular(self, found: os.stat_result, owners: set[int]) -> None:
        if found.st_nlink > 1:
            raise _refused(self.path, "it is a hard link: the same file has another name")
        if self.account is not None:
            owners = owners | {self.account.uid}
        if found.st_uid not in self.trusted | owners:
            raise _refused(self.path, f"it belongs to user {found.st_uid}")

    def give(self, fd: int, account: Account) -> int:
        """Make the log that root has opened the user's; return its descriptor."""
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_uid not in {*self.trusted, account.uid}:
                raise _refused(self.path, f"{account.name} may not write it")
            os.fchown(fd, account.uid, account.gid)
        except BaseException:
            os.close(fd)
            raise
        return fd


def _names(path: str) -> list[str]:
    """Return the names on a way, the last one first."""
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]


@contextlib.contextmanager
def _place(path: str, account: Account | None, *, follow_last: bool = True) -> Iterator[_Place]:
    """Find the place of `path`. account: whom not to trust, though a file of theirs will do."""
    # Whoever owns "/" can do everything: in a user namespace it may be a number that is not root's.
    trusted = {0, os.geteuid(), os.stat("/").st_uid}  # noqa: PTH116
    if account is not None:
        trusted.discard(account.uid)
    place = _Place(path, frozenset(trusted), account)
    try:
        place.walk(follow_last)
        yield place
    finally:
        if place.folder >= 0:
            os.close(place.folder)
