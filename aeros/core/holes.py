"""Free places between what is there to stay.

An import frees about as much as it keeps, and leaves its blocks of memory with holes. The allocators fill these first:
a worker would write its first objects all over the pages it shares. CPython's own has pools for what is small; glibc's
malloc(), behind it, keeps lists of the free pieces of its heap.
"""

from __future__ import annotations

import ctypes
import itertools
import operator
from collections.abc import Iterator

_SMALLEST, _LARGEST, _STEP = 16, 512, 16
"""The sizes of objects, in bytes, for which CPython's allocator keeps pools; see Objects/obmalloc.c."""
_POOL = 16 << 10
_MOST = 16 * _POOL
"""The most to try, in bytes for each size: a pool that was used before may look full of holes when it is not."""

#: What the holes are filled with.
_fillers: list[list[object]] = []

#: glibc keeps free pieces of up to this many bytes by their exact size, in steps of 16, and 8 more are its own of each.
_SORTED = 1032
_LEAST = 24
_OWN = 8
#: Pieces larger than this are the kernel's to give, and go back to it whole.
_LARGEST_PIECE = 96 << 10
_IN_A_ROW = 3
#: No heap has more free pieces of a size that an import could have left.
_MOST_PIECES = 4000


def fill_holes() -> None:
    """Fill them, for as long as this process and those it forks live. Costs some milliseconds and half a megabyte.

    For a process with nothing running beside it.
    """
    _fill_heap()
    for size in range(_SMALLEST, _LARGEST + 1, _STEP):
        _fillers.append(_fill(size, _things(size)))


def _fill_heap() -> None:
    """Take every free piece of glibc's heap, the largest first, for good. Nothing is written into them."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return
    # Found by subscription, these are ours alone, and their types nobody else's.
    malloc, free = libc["malloc"], libc["free"]
    malloc.restype, malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
    free.restype, free.argtypes = None, (ctypes.c_void_p,)
    for size in _sizes():
        run = [0]
        for _ in range(_MOST_PIECES):
            place = malloc(size)
            if place is None:
                return
            if place != run[-1] + size + _OWN:
                run = [place]
                continue
            run.append(place)
            # One behind the other they only come from where the heap ends, and there they are given back.
            if len(run) == _IN_A_ROW:
                for last in reversed(run):
                    free(last)
                break


def _sizes() -> Iterator[int]:
    """Yield sizes, downwards, such that what one leaves of a piece the next ones take."""
    size = _LARGEST_PIECE
    while size > _SORTED:
        yield size & ~15 | _OWN
        size = size * 7 // 8
    yield from range(_SORTED, _LEAST - 1, -16)


def _things(size: int) -> Iterator[object]:
    """Make objects of that size, and of no use."""
    if size == 16:
        return map(operator.call, itertools.repeat(object))
    if size == 32:
        return map(float, itertools.count(1 << 40))
    return map(bytes, itertools.repeat(size - bytes.__basicsize__))


def _fill(size: int, things: Iterator[object]) -> list[object]:
    filler: list[object] = []
    enough = _POOL // size * 3 // 4
    run, following = 0, 0
    for thing in itertools.islice(things, _MOST // size):
        filler.append(thing)
        # One behind the other they only come out of a pool that nobody has used: all others are full then.
        address = id(thing)
        if address == following:
            run += 1
            if run == enough:
                break
        else:
            run = 0
        following = address + size
    # That pool is given back whole.
    del filler[len(filler) - run - (run > 0) :]
    return filler
