"""Where lines go: a descriptor that may be a full pipe, a stopped terminal or a closed socket; it holds nobody up."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import stat
from collections.abc import Callable

#: What waits for a reader that is slow; beyond it lines are lost, and counted.
WAITING_BYTES = 256 * 1024
#: A pipe that can be written to at all takes this much without waiting (PIPE_BUF).
_CERTAIN_BYTES = 4096
#: There is no room now, and may be later: lines wait as for a reader that is slow, so that half a line is completed.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: The line is lost, not the process: a reader that has left, a terminal that is gone, a file system that is.
_SURVIVED = (errno.EPIPE, errno.EIO, errno.EBADF, errno.ECONNRESET, errno.ESTALE, errno.EROFS)


class Sink:
    """Writes to `fd`, which stays the caller's, without ever waiting."""

    def __init__(self, fd: int, writing: Callable[[int, bytes], int] = os.write) -> None:
        """writing: os.write, or what stands for it."""
        self.lost = 0
        self._fd = fd
        self.writing = writing
        self._waiting = bytearray()
        self._own = -1
        self._kind = "file"
        with contextlib.suppress(OSError):
            self._prepare(os.fstat(fd).st_mode)

    def _prepare(self, mode: int) -> None:
        if stat.S_ISREG(mode):
            return
        if stat.S_ISSOCK(mode):
            self._kind = "socket"
            return
        # O_NONBLOCK belongs to what was opened, not to the descriptor: set on fd 2 it would be set for the program, and
        # for the shell it was started from. So the same pipe or terminal is opened once more, for us alone.
        self._kind = "polled"
        flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        self._own = os.open(f"/proc/self/fd/{self._fd}", flags)
        self._kind = "own"

    @property
    def waiting(self) -> int:
        """Bytes that could not be written yet."""
        return len(self._waiting)

    def close(self) -> None:
        """Let go of what is the sink's own; what waits and can still not be written is lost."""
        self.flush()
        self.lost += self._waiting.count(b"\n")
        if self._own >= 0:
            os.close(self._own)
            self._own = -1
        self._waiting.clear()

    def write(self, data: bytes) -> None:
        """Write whole lines, or keep them until there is room, or lose them. Raises OSError only for what is a bug."""
        written = self._attempt(data) if self.flush() else 0
        if written == len(data):
            return
        if written or len(self._waiting) + len(data) <= WAITING_BYTES:
            self._waiting += memoryview(data)[written:]  # half a line is always completed
        else:
            self.lost += 1

    def flush(self) -> bool:
        """Try to write what waits; True when nothing does any more."""
        while self._waiting:
            written = self._attempt(bytes(self._waiting[:65536]))
            del self._waiting[:written]
            if not written:
                return False
        return True

    def _attempt(self, data: bytes) -> int:
        """Write as much as goes without waiting. What can never be written counts as written, and as lost."""
        try:
            if self._kind == "file":
                return self.writing(self._fd, data)  # less than all of it where the disk is just full
            if self._kind == "own":
                return self.writing(self._own, data)
            if self._kind == "socket":
                return self._send(data)
            return self._write_polled(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            if error.errno in _FULL:
                return 0
            if error.errno not in _SURVIVED:
                raise
            self.lost += data.count(b"\n")
            return len(data)

    def _send(self, data: bytes) -> int:
        import socket

        with socket.socket(fileno=os.dup(self._fd)) as line:
            return line.send(data, socket.MSG_DONTWAIT | getattr(socket, "MSG_NOSIGNAL", 0))

    def _write_polled(self, data: bytes) -> int:
        """Where the pipe cannot be opened again (another user's, no /proc): only as much as certainly fits."""
        written = 0
        poller = select.poll()
        poller.register(self._fd, select.POLLOUT)
        while written < len(data):
            if not any(events & (select.POLLOUT | select.POLLERR) for _, events in poller.poll(0)):
                break
            written += self.writing(self._fd, data[written : written + _CERTAIN_BYTES])
        return written
