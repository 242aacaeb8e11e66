"""pdb in a worker, at the terminal of the server."""

from __future__ import annotations

import contextlib
import os
import pdb
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import FrameType
from typing import Any

from ...core.process.terminal import group_in_front, put_in_front

#: One thread at a time has the terminal.
_ONE = threading.RLock()


class Prompt(pdb.Pdb):
    """pdb that has the terminal while it asks, and only then: at all other times Ctrl+C is for the supervisor."""

    def __init__(self, holding: Callable[[], AbstractContextManager[None]]) -> None:
        # Without its own handler of SIGINT, which would stay.
        super().__init__(nosigint=True)
        self._holding = holding

    def interaction(self, *arguments: Any, **keywords: Any) -> None:
        with _ONE, self._holding(), _in_front():
            super().interaction(*arguments, **keywords)


@contextlib.contextmanager
def _in_front() -> Iterator[None]:
    """Have what is typed for this process, Ctrl+C included."""
    before = group_in_front()
    put_in_front(os.getpgrp())
    try:
        with _keys():
            yield
    finally:
        with contextlib.suppress(OSError):  # the terminal is gone
            put_in_front(before or os.getpgrp())


@contextlib.contextmanager
def _keys() -> Iterator[None]:
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
