"""A system that refuses now and then, on purpose: `--faults` (see `core.faults`).

The app, the workers and the standard library keep the real calls. Without the option nothing of this is imported.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from typing import TypeVar

from ...core.faults import Dice, FaultPlan
from ...core.ipc.channel import Bounds, Channel
from ...core.log.lines import LineLog
from ...core.process.files import open_log
from .launch import CommandLine
from .system import System

T = TypeVar("T")


class FaultySystem(System):
    """The dice decide, for one process and those it forks, before each call of the plan."""

    def __init__(self, plan: FaultPlan, role: str) -> None:
        self.dice = Dice(plan, role)

    def describe(self) -> str:
        return f"system calls fail on purpose (--faults {self.dice.plan}): never do this to a server that matters"

    def enter(self, role: str) -> None:
        self.dice.enter(role)

    def leave(self) -> None:
        self.dice.stop()

    def attach(self, log: LineLog) -> None:
        log.through(self.dice.loaded("open", open_log), self.dice.loaded("write", os.write))

    def fork(self) -> int:
        self.dice.throw("fork")
        return super().fork()

    def launch(
        self,
        command: CommandLine,
        channel_fd: int,
        stderr_fd: int,
        variable: str,
        environ: Mapping[str, str] | None = None,
    ) -> int:
        self.dice.throw("spawn")
        return super().launch(command, channel_fd, stderr_fd, variable, environ)

    def launch_module(self, module: str, descriptors: Mapping[int, int], command: CommandLine) -> int:
        self.dice.throw("spawn")
        return super().launch_module(module, descriptors, command)

    def open_pidfd(self, pid: int) -> int | None:
        try:
            self.dice.throw("pidfd")
        except OSError:
            return None
        return super().open_pidfd(pid)

    def send_signal(self, pid: int, pidfd: int | None, signum: int) -> bool:
        try:
            if pidfd is not None:
                self.dice.throw("kill")
        except ProcessLookupError:
            return False
        return super().send_signal(pid, pidfd, signum)

    def channel_pair(
        self, there: str, bounds: Bounds | None = None, *, identified: bool = False
    ) -> tuple[Channel, socket.socket]:
        self.dice.throw("socketpair")
        channel, theirs = super().channel_pair(there, bounds, identified=identified)
        channel.dup = self.dice.loaded("dup", os.dup)
        return channel, theirs

    def pipe(self) -> tuple[int, int]:
        self.dice.throw("pipe")
        return super().pipe()

    def memory_file(self, make: Callable[[], T]) -> T:
        self.dice.throw("memfd")
        return super().memory_file(make)

    def accept(self, listener: socket.socket) -> socket.socket:
        self.dice.throw("accept")
        return super().accept(listener)
