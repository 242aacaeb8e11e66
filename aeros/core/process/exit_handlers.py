"""What a program has registered with atexit, run where a process of the family ends.

A worker is a forked copy of the program. What the copy has of its own is its own to tidy: records not sent yet, log
lines in a buffer. What the program made before the fork is used by all copies, and tidied by the process that made it.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
import threading
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

#: As exit handlers by themselves these can only remove what the program had before the fork.
_REMOVERS = (shutil.rmtree, os.remove, os.unlink, os.rmdir, os.removedirs)

#: Where Python no longer has what `disown` needs: then a copy runs no handler at all.
_may_run = True


def disown() -> None:
    """In a copy just forked: leave it to the original to tidy what it made.

    Temporary directories and other `weakref.finalize`, the child processes of multiprocessing, files removed by a
    handler. Without this the first worker to end would take them from all others, as it does with gunicorn --preload.
    """
    global _may_run  # noqa: PLW0603 - a fact of this process
    try:
        for finalizer in list(weakref.finalize._registry):  # type: ignore[attr-defined]
            finalizer.atexit = False
        processes = sys.modules.get("multiprocessing.process")
        if processes is not None:
            # Its exit handler terminates the daemonic ones by their pid, and waits for the others.
            processes._children.clear()
    except AttributeError:
        _may_run = False
    for remover in _REMOVERS:
        atexit.unregister(remover)


def run_exit_handlers(bound_s: float, give_up: Callable[[str], NoReturn]) -> None:
    """Run them, the last registered one first, for `bound_s` at most.

    For the main thread. What a handler raises is printed, and the next one runs. give_up: called when the time is over,
    with the handler that is not done; ends the process. One in C that does not return is left to who kills us.
    """
    run: Callable[[], Any] | None = getattr(atexit, "_run_exitfuncs", None)
    if not _may_run or run is None or threading.current_thread() is not threading.main_thread():
        return

    def ring(signum: int, frame: FrameType | None) -> None:
        give_up(_handler_of(frame))

    signal.signal(signal.SIGALRM, ring)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    sooner, _ = signal.setitimer(signal.ITIMER_REAL, bound_s, 1.0)
    if 0 < sooner < bound_s:  # set by `worker.lifeline` for an orphan
        signal.setitimer(signal.ITIMER_REAL, sooner, 1.0)
    try:
        run()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _handler_of(frame: FrameType | None) -> str:
    """Return which handler is being run in `frame`."""
    while frame is not None and frame.f_back is not None and frame.f_back.f_code is not run_exit_handlers.__code__:
        frame = frame.f_back
    if frame is None:
        return "not known"
    code = frame.f_code
    return f"{code.co_qualname} ({code.co_filename}:{code.co_firstlineno})"
