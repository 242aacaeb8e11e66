"""Debuggers in this worker, and the heartbeat while one holds the event loop: that is no worker that hangs."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any


def is_present() -> bool:
    """Whether a debugger is loaded, which may hold a thread of this process later. Costs well under a microsecond."""
    return "debugpy" in sys.modules or "pydevd" in sys.modules or _has_tool()


def is_attached() -> bool:
    """Whether somebody debugs this process now, so that any line may be where it stands.

    Not told by a trace function, which coverage has too.
    """
    debugpy, pydevd = sys.modules.get("debugpy"), sys.modules.get("pydevd")
    try:
        if debugpy is not None:
            return bool(debugpy.is_client_connected())
        if pydevd is not None:
            return pydevd.get_global_debugger() is not None
    except Exception:  # half imported, or a version that has no such function: then it is not known
        return False
    return _has_tool()


def _has_tool() -> bool:
    # Python's own registry (PEP 669), from 3.12 on.
    monitoring: Any = getattr(sys, "monitoring", None)
    return monitoring is not None and monitoring.get_tool(monitoring.DEBUGGER_ID) is not None


class Patience:
    """Beats in place of the loop, from a thread, while a debugger may hold it. Without one there is no thread."""

    def __init__(self, beat: Callable[[], None], every_s: float, say: Callable[[str], None]) -> None:
        """beat: writes the heartbeat. say: called once, with a line for the log."""
        self._beat = beat
        self._every_s = every_s
        self._say = say
        self._held = 0
        self._said = False
        self._thread: threading.Thread | None = None

    def look(self) -> None:
        """Called by the loop at each of its own beats."""
        if not is_present():
            return
        self._start()
        if not self._said and is_attached():
            self._said = True
            self._say("a debugger is attached: --worker-timeout waits for as long as it is")

    @contextlib.contextmanager
    def holding(self) -> Iterator[None]:
        """Beat for as long as the block takes."""
        self._start()
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1

    def _start(self) -> None:
        if self._thread is not None:
            return
        thread: Any = threading.Thread(target=self._run, name="aeros-debugger", daemon=True)
        # Or pydevd would stop this thread as well, as it does with all when one is at a breakpoint.
        thread.pydev_do_not_trace = thread.is_pydev_daemon_thread = True
        self._thread = thread
        thread.start()

    def _run(self) -> None:
        while True:
            if self._held or is_attached():
                self._beat()
            time.sleep(self._every_s)
