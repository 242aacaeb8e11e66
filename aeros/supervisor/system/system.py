"""The system calls and the clock, as the supervisor and its zygotes use them.

One object, handed in: the real one, one that refuses now and then (`faulty`), or one that a test plays. What goes past
it (files that are read, the listeners, the sockets of clients) needs to be neither.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from typing import TypeVar

from ...core.clock import monotonic
from ...core.ipc.channel import Bounds, Channel, channel_pair
from ...core.log.lines import LineLog
from ...core.process.signalling import fork, open_pidfd, reap, send_signal
from .kin import Kin, has_ended, recognise
from .launch import CommandLine, launch, launch_module
from .warden import Warden

T = TypeVar("T")


class System:
    """The real one."""

    def describe(self) -> str:
        """Return a warning about it for the log; "" where there is nothing to warn of."""
        return ""

    def enter(self, role: str) -> None:
        """This process has just been forked, and is `role` from now on."""

    def leave(self) -> None:
        """This process is neither supervisor nor zygote any more: a worker, or a program whose server has ended."""

    def attach(self, log: LineLog) -> None:
        """Have the log written through this system."""

    def monotonic(self) -> float:
        """Return the time that deadlines are compared with, in seconds."""
        return monotonic()

    # --- processes

    def fork(self) -> int:
        return fork()

    def launch(
        self,
        command: CommandLine,
        channel_fd: int,
        stderr_fd: int,
        variable: str,
        environ: Mapping[str, str] | None = None,
    ) -> int:
        """Run the program again; see `launch.launch`."""
        return launch(command, channel_fd, stderr_fd, variable, environ)

    def launch_module(self, module: str, descriptors: Mapping[int, int], command: CommandLine) -> int:
        return launch_module(module, descriptors, command)

    def warden(self, log: LineLog) -> Warden:
        """Return what ends launched workers that outlive this process."""
        return Warden(log)

    def open_pidfd(self, pid: int) -> int | None:
        return open_pidfd(pid)

    def send_signal(self, pid: int, pidfd: int | None, signum: int) -> bool:
        """Signal exactly that process. False when it is gone already."""
        return send_signal(pid, pidfd, signum)

    def kill(self, pid: int, signum: int) -> None:
        """Signal a child that nobody has reaped yet. Raises ProcessLookupError."""
        os.kill(pid, signum)

    def kill_group(self, pid: int, signum: int) -> None:
        """Signal a child that nobody has reaped yet, and what it has started. Raises ProcessLookupError."""
        os.killpg(pid, signum)

    def reap(self, pid: int, *, with_group: bool = False, say: Callable[[str], None] | None = None) -> int | None:
        """Return the wait status of a child if it has ended; see `signalling.reap`."""
        return reap(pid, with_group=with_group, say=say)

    def ended_child(self) -> int:
        """Return the pid of a child that has ended and is not yet reaped, 0 if there is none."""
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return 0
        return found.si_pid if found is not None else 0

    def has_ended(self, pid: int, pidfd: int | None) -> bool:
        return has_ended(pid, pidfd)

    def recognise(self, pid: int, told: int | None, teller: int, teller_pidfd: int | None, *, strict: bool) -> Kin:
        """Return what becomes of the word of process `teller` that `pid` is a child of its; see `kin.recognise`."""
        return recognise(pid, told, teller, teller_pidfd, strict=strict, open_pidfd=self.open_pidfd)

    # --- descriptors

    def channel_pair(
        self, there: str, bounds: Bounds | None = None, *, identified: bool = False
    ) -> tuple[Channel, socket.socket]:
        return channel_pair(there, bounds, identified=identified)

    def pipe(self) -> tuple[int, int]:
        return os.pipe()

    def memory_file(self, make: Callable[[], T]) -> T:
        """Return what `make` makes, which takes a file in memory. Raises OSError."""
        return make()

    def accept(self, listener: socket.socket) -> socket.socket:
        """Return the next client's connection. Raises OSError."""
        return listener.accept()[0]
