"""The memory a process is about to share with the children it forks."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Sequence
from itertools import compress
from operator import attrgetter
from pathlib import Path

from .collector import collect_new
from .holes import fill_holes
from .hot import HOT
from .immortal import can_immortalise, immortalise_code, immortalise_program
from .packing import pack_code

_PR_SET_MEMORY_MERGE = 67
_KSM = Path("/sys/kernel/mm/ksm/run")
_SMAPS = Path("/proc/self/smaps")
_MADV_DONTNEED = 4
#: What of a mapping is the process's own, and would be lost: a debugger's breakpoints, a loader's relocations.
_WRITTEN_TO = ("Anonymous:", "Swap:")


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
    homes = list(map(attrgetter("__module__"), functions))
    candidates = compress(functions, map(HOT.__contains__, homes))
    hot = [function for function in candidates if function.__qualname__ in HOT[function.__module__]]
    fill_holes()
    if not _settled:  # a program that starts a second server has packed its code
        pack_code(hot)
    # Of the packages that are named there workers run nothing else, or not often; nor of what else Python comes with.
    families = {module.partition(".")[0] for module in HOT} | sys.stdlib_module_names
    others = {home for home in set(homes) if str(home).partition(".")[0] not in families}
    immortalise_code([item.__code__ for item in (*hot, *compress(functions, map(others.__contains__, homes)))])


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


def release_code() -> None:
    """Have this process forget the code that it has run so far, the interpreter's and that of libraries.

    What it runs again is read back from the cache. For one that has imported all there is, and only supervises from now
    on. Linux only.
    """
    spans: list[tuple[int, int]] = []
    written = 0
    try:
        with _SMAPS.open() as lines:
            candidate = False
            for line in lines:
                name, *values = line.split()
                if not name.endswith(":"):
                    candidate = _is_code(line, values)
                    if candidate:
                        first, _, after = name.partition("-")
                        spans.append((int(first, 16), int(after, 16)))
                elif candidate and name in _WRITTEN_TO and values[0] != "0":
                    candidate = False
                    spans.pop()
                    written += 1
    except OSError:
        return
    # A loader relocates libraries and then protects them. Where that cannot be seen (in an emulation of Linux, say), it
    # cannot be told what would be lost.
    if not written:
        return
    import ctypes

    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for start, end in spans:
        madvise(start, end - start, _MADV_DONTNEED)


def _is_code(line: str, values: Sequence[str]) -> bool:
    """Whether it is a private mapping of a file that is still there, and not to be written to."""
    read_only = values[0] in ("r-xp", "r--p")
    return read_only and len(values) > 4 and values[4].startswith("/") and not line.endswith("(deleted)\n")


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
