"""A process that a handler has forked, with os.fork, and that comes back out of the handler: it is no worker.

It has the worker's sockets, and the kernel's table of what the loop waits for (epoll) is one for both: a copy that goes
on, or tidies up, takes events from the worker, which then hangs.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NoReturn

#: Whether this process is one.
is_one = False


def watch() -> None:
    """In a worker: have its children know that they are copies."""
    os.register_at_fork(after_in_child=_mark)


def _mark() -> None:
    global is_one  # noqa: PLW0603 - a fact of this process
    is_one = True


def leave(error: BaseException | None) -> NoReturn:
    """End this copy by its sys.exit, its exception or its coming back, and leave alone what is the worker's."""
    code = 0
    if isinstance(error, SystemExit):
        code = error.code & 0xFF if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        import traceback

        traceback.print_exception(error)
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)
