"""The warden ends launched workers that outlive a supervisor which was killed by more than their drain time.

A worker sees by itself that its supervisor is gone. But one that is stopped, or blocked in code that is not Python's,
does not. A forked worker is then ended by its zygote. Launched workers have none, so a small process is told of each of
them, and waits (`warden_process`): a fresh interpreter without site, as the supervisor has a loop and must not fork.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import sys
from pathlib import Path

from ...core.log.lines import LineLog
from . import warden_process

_PROGRAM = Path(warden_process.__file__)


class Warden:
    """The supervisor's line to it. There is a process once there is somebody to watch."""

    def __init__(self, log: LineLog) -> None:
        self._log = log
        self._line: socket.socket | None = None
        self.pid = 0

    def watch(self, pid: int, pidfd: int | None, seconds: float) -> None:
        """Have that worker ended, should it outlive this process by more than `seconds`. Without pidfds (not Linux)
        there is no warden."""
        if pidfd is None or getattr(sys, "frozen", False) or not _PROGRAM.is_file():
            return
        try:
            if self._line is None:
                self._start()
            assert self._line is not None
            socket.send_fds(self._line, [f"{pid} {seconds}".encode()], [pidfd])
        except OSError as error:
            self._log.warning(f"the process that would end worker pid={pid} after us is not there: {error}")

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            # On a high number: on the one it is to have there it would close on exec.
            there = fcntl.fcntl(theirs.fileno(), fcntl.F_DUPFD_CLOEXEC, 64)
            try:
                # Not by the shim: it is to outlive this process.
                self.pid = os.posix_spawn(
                    sys.executable,
                    (sys.executable, "-I", "-S", str(_PROGRAM)),
                    os.environ,
                    file_actions=[(os.POSIX_SPAWN_DUP2, there, warden_process.LINE)],
                    setsigmask=[],
                    setpgroup=0,
                )
            finally:
                os.close(there)
            self._line = ours.dup()
        self._line.setblocking(False)

    def lost(self) -> bool:
        """Return whether its process has ended, reaped now; a new one is to be told of all."""
        if not self.pid:
            return False
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(self.pid, os.WNOHANG) == (0, 0):
                return False
        self.pid = 0
        self._let_go()
        return True

    def close(self, *, needed: bool) -> None:
        """Let go of it. needed: there are workers left, so it is to do what it is there for; else it is ended."""
        if self.pid and not needed:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            self.pid = 0
        self._let_go()

    def _let_go(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None
