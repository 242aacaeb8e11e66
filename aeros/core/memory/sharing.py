"""The memory a process is about to share with the children it forks."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from pathlib import Path

from ..log.lines import LineLog
from .immortal import Mortal, immortalise_program

_PR_SET_MEMORY_MERGE = 67
_KSM = Path("/sys/kernel/mm/ksm/run")

#: Not what the collector says: Python 3.12 begins its life with hundreds of objects frozen.
_settled = False


def settle_memory(log: LineLog, *, immortal: bool = True) -> None:
    """Free what is free, give it back, and have the collector never look at the rest again: that would unshare it.

    immortal: whether to make the program immortal. Not for the copy of a bigger program that goes on beside it: the
    copy would write to, and so unshare, all of what it has from that. Says at debug level what was done.
    """
    global _settled  # noqa: PLW0603 - a fact of this process, as the collector's state is
    gc.collect()
    if immortal:
        try:
            log.debug(f"{immortalise_program()} objects of the program are immortal (--immortal)")
        except Mortal as reason:
            log.debug(f"the program is not immortal, and workers share less memory: {reason}")
    _give_back()
    gc.freeze()
    _settled = True


def is_settled() -> bool:
    """Whether this process, or the one it was forked from, has done so already."""
    return _settled


def _give_back() -> None:
    """Return what glibc's allocator holds free to the kernel; with any other nothing happens."""
    if sys.platform != "linux":
        return
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def merge_memory() -> str | None:
    """Let the kernel keep pages with the same content once, for this process and those it forks (Linux 6.4, KSM).

    Return what is in the way of that, or None.
    """
    if sys.platform != "linux":
        return "only Linux can merge memory"
    import ctypes

    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_MEMORY_MERGE, 1, 0, 0, 0) != 0:
        return f"this kernel cannot merge memory ({os.strerror(ctypes.get_errno())}); it takes Linux 6.4 with KSM"
    with contextlib.suppress(OSError):
        if _KSM.read_text().strip() != "1":
            return f"the kernel does not merge memory yet; root can make it: echo 1 > {_KSM}"
    return None
