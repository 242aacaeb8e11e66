"""The file of one worker: its heartbeat, and behind that the stacks that it was asked for.

Only the worker can write it, and the zygote that forked it. The supervisor kills for a missing heartbeat, so this one
must be out of the reach of other workers, who can write the one in the scoreboard. The supervisor reads it and never
maps it, so that its size is of no account.
"""

from __future__ import annotations

import mmap
import os

from .anonymous import growing_file

_HEARTBEAT_BYTES = 8
#: Where the stacks begin.
STACKS_AT = _HEARTBEAT_BYTES
#: So much of the stacks is read at once.
_MOST_BYTES = 256 * 1024


def make_worker_file() -> int:
    """Return the descriptor of a new one. Raises OSError."""
    # Stacks are written to the descriptor's own place, behind the beginning, which goes along with it to the worker.
    return growing_file("aeros-worker", bytes(_HEARTBEAT_BYTES))


def heartbeat_word(fd: int) -> memoryview:
    """Return the one word in which the worker writes when its loop turned, in nanoseconds of the monotonic clock.

    Mapped, so that an app that closes descriptors it does not know has no number of ours written into its own files.
    """
    return memoryview(mmap.mmap(fd, _HEARTBEAT_BYTES)).cast("Q")


def read_heartbeat(fd: int, now: float) -> float:
    """Return when the loop last turned, 0.0 if never; monotonic seconds, and not later than `now`."""
    return min(now, int.from_bytes(os.pread(fd, _HEARTBEAT_BYTES, 0), "little") / 1e9)


def read_stacks(fd: int, at: int) -> bytes:
    """Return what was written from place `at` on, as much as is read at once; b"" if nothing."""
    return os.pread(fd, _MOST_BYTES, at)
