"""The terminal of the server, for as long as a worker asks something there."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import FrameType
from typing import Any

from ...core.process.terminal import group_in_front, put_in_front

#: One thread at a time has the terminal.
_ONE = threading.RLock()


class Keys:
    """Who reads what is typed: the worker while it asks, and the supervisor at all other times (for Ctrl+C)."""

    def __init__(
        self,
        workers: int,
        supervisor_pid: Callable[[], int],
        holding: Callable[[], AbstractContextManager[None]],
    ) -> None:
        """workers: how many were asked for. holding: a block in which the loop may stand still."""
        self._workers = workers
        self._supervisor_pid = supervisor_pid
        self._holding = holding

    def why_not(self) -> str:
        """Return why nobody could answer a question here, or ""."""
        if self._workers != 1:
            return f"there are {self._workers} workers, and one terminal at most"
        front = group_in_front()
        if front is None:
            return "standard input is not the terminal of the server"
        try:
            ours = (os.getpgrp(), os.getpgid(self._supervisor_pid()))
        except OSError:
            return "the supervisor is gone"
        return "" if front in ours else "the server runs in the background of its terminal"

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Have what is typed for this process, Ctrl+C included."""
        with _ONE, self._holding():
            before = group_in_front()
            put_in_front(os.getpgrp())
            try:
                with _signals():
                    yield
            finally:
                with contextlib.suppress(OSError):  # the terminal is gone
                    put_in_front(before or os.getpgrp())


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Let Ctrl+C begin a new line, as pdb has it, and Ctrl+Z do nothing: no shell could continue this group."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTSTP: _nothing}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _nothing(signum: int, frame: FrameType | None) -> None:
    pass
