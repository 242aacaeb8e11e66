"""The children of a zygote: the workers it has forked, and the copies of itself."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from functools import partial

from ...core.log.lines import LineLog, ended_with, worker_name
from ...core.record import mutable
from ..system.system import System


@mutable
class Child:
    """One worker."""

    pid: int
    slot: int
    generation: int
    pidfd: int | None


class Children:
    """False when there is no worker; copies end by themselves."""

    def __init__(self, system: System, log: LineLog) -> None:
        self._system = system
        self._log = log
        self._workers: dict[int, Child] = {}
        self._copies: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._workers)

    def add(self, pid: int, slot: int, generation: int) -> int | None:
        """A worker was forked. Return its pidfd: it may have ended already, but nobody else can have its number before
        it is reaped here."""
        pidfd = self._system.open_pidfd(pid)
        self._workers[pid] = Child(pid, slot, generation, pidfd)
        return pidfd

    def add_copy(self, pid: int) -> None:
        self._copies.add(pid)

    def reap(self, *, quiet: bool = False) -> Iterator[tuple[Child, int]]:
        """Yield each worker that has ended, reaped, with its wait status. quiet: what it has started is not named."""
        for pid in list(self._copies):
            if self._system.reap(pid) is not None:
                self._copies.discard(pid)
        for child in list(self._workers.values()):
            # What a worker started ends with it: its own process group goes too.
            status = self._system.reap(
                child.pid, with_group=True, say=None if quiet else partial(self._say_left, child)
            )
            if status is None:
                continue
            del self._workers[child.pid]
            if child.pidfd is not None:
                os.close(child.pidfd)
            yield child, status

    def _say_left(self, child: Child, left: str) -> None:
        self._log.info(ended_with(worker_name(child.slot, child.generation, child.pid), left))

    def kill(self) -> None:
        """End every worker."""
        for child in self._workers.values():
            with contextlib.suppress(OSError):
                self._system.send_signal(child.pid, child.pidfd, signal.SIGKILL)

    def forget(self) -> None:
        """In a child just forked: these are not its own."""
        for child in self._workers.values():
            if child.pidfd is not None:
                os.close(child.pidfd)
        self._workers = {}
