"""The memory a process is about to share with the children it forks."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from pathlib import Path

from .collector import collect_new
from .holes import fill_holes
from .hot import HOT
from .immortal import can_immortalise, immortalise_code, immortalise_program
from .packing import pack_code

_PR_SET_MEMORY_MERGE = 67
_KSM = Path("/sys/kernel/mm/ksm/run")


#: Not what the collector says: Python 3.12 begins its life with hundreds of objects frozen.
_settled = False


def settle_memory(*, own_program: bool = True) -> None:
    """Free what is free, give it back, and have the collector never look at the rest again: that would unshare it.

    own_program: whether this process runs the program, and is not the copy of a bigger one that goes on beside it. A
    copy would write to, and so unshare, all of what it has from that.
    """
    global _settled  # noqa: PLW0603 - a fact of this process, as the collector's state is
    collect_new()
    # Without two descriptors for the moment the program stays mortal, and serves none the less.
    with contextlib.suppress(OSError):
        if own_program:
            _gather_what_is_written()
    _give_back()
    gc.freeze()
    _settled = True


def _gather_what_is_written() -> None:
    """Have workers write to few pages of what they share; no use where they count references all over it."""
    if not can_immortalise():
        return
    functions = immortalise_program()
    hot = [function for function in functions if function.__qualname__ in HOT.get(function.__module__, ())]
    fill_holes()
    if not _settled:  # a program that starts a second server has packed its code
        pack_code(hot)
    # Of the packages that are named there workers run nothing else, or not often.
    families = {module.partition(".")[0] for module in HOT}
    known = {module for module in sys.modules if module.partition(".")[0] in families}
    immortalise_code([item.__code__ for item in (*hot, *(one for one in functions if one.__module__ not in known))])


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
