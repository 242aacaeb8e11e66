"""Whether a server can be started here and now, and as what."""

from __future__ import annotations

import asyncio
import threading

from ..errors import StateError
from ..worker import context

_NOT_IN_A_LOOP = (
    "start() blocks until the server has stopped, and was called in a running event loop, which would stand still "
    "meanwhile: call it outside of asyncio.run(), or use start(block=False) there, which returns a handle, and then "
    "`await asyncio.to_thread(handle.wait)`"
)


def check_moment() -> None:
    """Raise StateError in a worker."""
    if context.current is not None:
        raise StateError(
            f"start() was called inside a worker (slot {context.current.slot}); a worker cannot start another server"
        )


def check_may_block() -> None:
    """Raise StateError where a blocking start would hold up a running loop."""
    if _in_running_loop():
        raise StateError(_NOT_IN_A_LOOP)


def can_supervise() -> bool:
    """Whether this thread may become the supervisor: signals are the main thread's, and it needs its own loop."""
    return threading.current_thread() is threading.main_thread() and not _in_running_loop()


def _in_running_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
