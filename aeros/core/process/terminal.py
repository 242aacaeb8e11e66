"""The terminal that the server was started in, and whose keys are read there.

A terminal gives what is typed to one process group, the one in front. Who reads from it out of another group is stopped
by SIGTTIN, and who changes it by SIGTTOU, unless that is blocked (termios(3), tcsetpgrp(3)).
"""

from __future__ import annotations

import contextlib
import os
import signal

_STDIN = 0


def group_in_front() -> int | None:
    """Return the process group in front, or None where standard input is not this session's terminal."""
    try:
        return os.tcgetpgrp(_STDIN)
    except OSError:
        return None


def put_in_front(group: int) -> None:
    """Have `group`, of this session, read what is typed. Raises OSError."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        os.tcsetpgrp(_STDIN, group)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def regain(group: int) -> None:
    """Put this process's own group in front again if `group`, which has ended, has been left there."""
    if group and group_in_front() == group:  # 0 is a group of another namespace
        with contextlib.suppress(OSError):
            put_in_front(os.getpgrp())
