"""The standard streams of a program that is about to be part of a family, and its last words where it is not."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NoReturn

from ..core.log.spoken import Spoken
from ..core.process.streams import is_ours
from ..core.text import complaint
from ..errors import AerosError


def flush_output() -> None:
    """Buffered output would otherwise be written once by every child."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def have_stderr(fd: int) -> None:
    """Take the server's standard error for ours, which may have been a pipe to the supervisor until now."""
    if is_ours(2):
        os.dup2(fd, 2)
        if isinstance(sys.stderr, Spoken):
            sys.stderr.reopen()
    os.close(fd)


def give_up(error: AerosError) -> NoReturn:
    """End the program with the error's own exit code, and one line instead of a traceback."""
    sys.stdout.flush()
    traceback = getattr(error, "traceback", "")
    print(complaint(f"aeros: {error}", traceback), file=sys.stderr)  # noqa: T201
    sys.exit(int(error.exit_code))
