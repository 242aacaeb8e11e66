"""The pid file: locked while its server lives, so that a stale one is told from a live one without guessing."""

from __future__ import annotations

import contextlib
import fcntl
import os

from ..core.exitcodes import ExitCode
from ..errors import StartError


class PidFile:
    """A file that holds a pid and a lock. What it says is true exactly as long as the lock is held."""

    def __init__(self, path: str) -> None:
        """Take the lock. Raises StartError when another server holds it, or the file cannot be written."""
        self.path = os.path.abspath(path)  # noqa: PTH100 - a string is what is shown
        try:
            self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StartError(f"cannot write the pid file {path}: {error.strerror}", exit_code=ExitCode.USAGE) from None
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(self.fd, 32).decode("ascii", "replace").strip()
            os.close(self.fd)
            raise StartError(f"the pid file {path} belongs to a running server (pid {holder or 'unknown'})") from None
        self._inode = os.fstat(self.fd).st_ino

    @classmethod
    def inherit(cls, path: str, fd: int) -> PidFile | None:
        """Return the file that another supervisor hands on with its lock, if it is the one at `path`; else None."""
        inherited = cls.__new__(cls)
        inherited.path = os.path.abspath(path)  # noqa: PTH100
        inherited.fd = fd
        inherited._inode = os.fstat(fd).st_ino
        with contextlib.suppress(OSError):
            if os.stat(inherited.path).st_ino == inherited._inode:  # noqa: PTH116
                return inherited
        return None

    def write(self, pid: int = 0) -> None:
        """Say that this process is the one, or `pid`."""
        text = f"{pid or os.getpid()}\n".encode()
        # In this order the file is never empty: whoever reads it meanwhile is told of one or the other.
        os.pwrite(self.fd, text, 0)
        os.ftruncate(self.fd, len(text))

    def bequeath(self, pid: int) -> None:
        """It is the supervisor `pid`'s from now on, to which the lock has gone as well; `remove` leaves it alone."""
        self.write(pid)
        self._inode = 0

    def forget(self) -> None:
        """In a child: let go of the copy of the descriptor, the lock stays with the supervisor."""
        os.close(self.fd)

    def remove(self) -> None:
        """Remove the file if it is still ours, and release the lock."""
        with contextlib.suppress(OSError):
            if os.stat(self.path).st_ino == self._inode:  # noqa: PTH116
                os.unlink(self.path)  # noqa: PTH108
        os.close(self.fd)
