"""The memory a process is about to share with the children it forks."""

from __future__ import annotations

import contextlib
import gc
import sys


def settle_memory() -> None:
    """Free what is free, give it back, and have the collector never look at the rest again: that would unshare it."""
    gc.collect()
    _give_back()
    gc.freeze()


def is_settled() -> bool:
    """Whether this process, or the one it was forked from, has done so already."""
    return gc.get_freeze_count() > 0


def _give_back() -> None:
    """Return what glibc's allocator holds free to the kernel; with any other nothing happens."""
    if sys.platform != "linux":
        return
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
