"""The pid file: locked while its server lives, so that a stale one is told from a live one without guessing."""

from __future__ import annotations

import fcntl
import os

from ...core.exitcodes import ExitCode
from ...core.process.files import is_same_file, open_pid_file, remove_if_same
from ...errors import StartError

#: More than any pid, and than what is left of two when a server was killed as it wrote the second over the first.
_MOST_BYTES = 64


class PidFile:
    """A file that holds a pid and a lock. What it says is true exactly as long as the lock is held."""

    def __init__(self, path: str) -> None:
        """Take the lock. Raises StartError when another server holds it, or the file cannot be written."""
        self.path = os.path.abspath(path)  # noqa: PTH100 - a string is what is shown
        try:
            self.fd = open_pid_file(self.path)
        except OSError as error:
            raise StartError(f"cannot use the pid file {path}: {error.strerror}", exit_code=ExitCode.USAGE) from None
        try:
            self._take_lock(path)
        except BaseException:
            os.close(self.fd)
            raise
        self._is_ours = True

    def _take_lock(self, path: str) -> None:
        text = os.pread(self.fd, _MOST_BYTES, 0)
        if text.strip(b"0123456789 \r\n"):
            raise StartError(
                f"cannot use the pid file {path}: it holds something else than a pid, and is left alone",
                exit_code=ExitCode.USAGE,
            )
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = (text.decode().split() or ["unknown"])[0]
            raise StartError(f"the pid file {path} belongs to a running server (pid {holder})") from None

    @classmethod
    def inherit(cls, path: str, fd: int) -> PidFile | None:
        """Return the file that another supervisor hands on with its lock, if it is the one at `path`; else None."""
        inherited = cls.__new__(cls)
        inherited.path = os.path.abspath(path)  # noqa: PTH100
        inherited.fd = fd
        inherited._is_ours = True
        return inherited if is_same_file(inherited.path, fd) else None

    def write(self, pid: int = 0) -> None:
        """Say that this process is the one, or `pid`."""
        text = f"{pid or os.getpid()}\n".encode()
        # In this order the file is never empty: whoever reads it meanwhile is told of one or the other.
        os.pwrite(self.fd, text, 0)
        os.ftruncate(self.fd, len(text))

    def bequeath(self, pid: int) -> None:
        """It is the supervisor `pid`'s from now on, to which the lock has gone as well; `remove` leaves it alone."""
        self.write(pid)
        self._is_ours = False

    def forget(self) -> None:
        """In a child: let go of the copy of the descriptor, the lock stays with the supervisor."""
        os.close(self.fd)

    def remove(self) -> None:
        """Remove the file if it is still ours, and release the lock."""
        if self._is_ours:
            remove_if_same(self.path, self.fd)
        os.close(self.fd)
