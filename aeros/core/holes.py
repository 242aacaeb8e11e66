"""Free places between what is there to stay.

An import frees about as much as it keeps, and leaves its blocks of memory with holes. CPython's allocator fills these
first, so that a worker would write its first small objects all over the pages it shares.
"""

from __future__ import annotations

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


def fill_holes() -> None:
    """Fill them, for as long as this process and those it forks live. Costs some milliseconds and half a megabyte."""
    for size in range(_SMALLEST, _LARGEST + 1, _STEP):
        _fillers.append(_fill(size, _things(size)))


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
