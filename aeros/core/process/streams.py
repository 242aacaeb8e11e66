"""The standard streams: descriptors 0, 1 and 2 are never anything else.

A program may be started with some of them closed (`<&- >&- 2>&-`, daemons, cron). What it opens next then gets their
numbers, and whatever writes to "standard error" writes into a socket, a database or memory that is shared.
"""

from __future__ import annotations

import contextlib
import os
import sys
from functools import cache

_NAMES = ("stdin", "stdout", "stderr")


def secure() -> None:
    """Open /dev/null on those of the three that are closed. To be called before anything else is opened."""
    for fd, name in enumerate(_NAMES):
        if not _is_open(fd):
            opened = _open_null()  # the lowest free number: this one
            if opened != fd:  # other threads open things as well
                os.dup2(opened, fd)
                os.close(opened)
            os.set_inheritable(fd, True)
        if getattr(sys, name) is None:
            # Python leaves None where it found a closed descriptor, and whoever flushes or writes to that raises. Not
            # by the number: it may be somebody else's already.
            with contextlib.suppress(OSError):
                setattr(sys, name, open(os.devnull, "r" if fd == 0 else "w"))  # noqa: PTH123, SIM115


def is_ours(fd: int) -> bool:
    """Whether a standard descriptor is the standard stream still, or /dev/null.

    Not where Python found it closed, or the program has closed it, and something else was opened there before
    `secure` was called. That must not be written to.
    """
    stream = getattr(sys, f"__{_NAMES[fd]}__")
    return (stream is not None and not stream.closed) or _is_null(fd)


def standard(fd: int) -> int:
    """Return where to write what is for this standard stream: the descriptor itself, or one of /dev/null."""
    return fd if is_ours(fd) else _shared_null()


@cache
def _shared_null() -> int:
    return _open_null()


def _open_null() -> int:
    try:
        return os.open(os.devnull, os.O_RDWR)
    except OSError:
        return os.open("/", os.O_RDONLY)  # a root without /dev: the number is taken at least


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _is_null(fd: int) -> bool:
    try:
        return os.fstat(fd).st_rdev == os.stat(os.devnull).st_rdev  # noqa: PTH116
    except OSError:
        return False
