"""A bound on code that nobody else can interrupt: the program's, in a process with one thread and no loop of ours."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class Overdue(BaseException):
    """The time is over. No Exception: code that catches all of these would go on as if nothing had been."""


@contextlib.contextmanager
def bounded(seconds: float, error: type[BaseException] = Overdue) -> Iterator[None]:
    """Raise `error`, inside of what runs in this context, after so many seconds. For the main thread.

    Code in C that does not look for signals is not interrupted; the supervisor's own bounds are for that.
    """

    def late(number: int, frame: FrameType | None) -> None:
        raise error

    before = signal.signal(signal.SIGALRM, late)
    # Again each second: a bare `except:` in a loop may have swallowed the first.
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
