"""`core.holes`: what comes after the filling goes to pools of its own."""

from __future__ import annotations

from ctypes import CDLL

import pytest

from tests.helpers.child import goes_well

PROGRAM = """
    import sys
    from aeros.core import holes

    size = int(sys.argv[1])
    make = holes._things(size).__next__
    assert size - 16 < sys.getsizeof(make()) <= size
    things = [make() for _ in range((64 << 10) // size * 2)]
    freed = {id(thing) for thing in things[::2]}
    del things[::2]
    again = {id(thing) for thing in [make() for _ in range(50)]}
    assert again & freed, "holes would be filled first"
    holes.fill_holes()
    after = [make() for _ in range(50)]
    left = freed & {id(thing) for thing in after}
    assert len(left) < 5, "but for what the filling itself let go of"
    assert sum(sys.getsizeof(thing) for filler in holes._fillers for thing in filler) < 2 << 20
    print("well")
"""


HEAP = """
    from aeros.core import holes

    sizes = [520, 700, 1000, 1040, 2000, 5000, 20000, 60000]
    things = [bytes(size) for size in sizes * 40]
    freed = []
    for index in range(len(sizes), len(things), 2 * len(sizes)):
        group = things[index:index + len(sizes)]
        freed += [range(id(thing), id(thing) + len(thing)) for thing in group]
        things[index:index + len(sizes)] = [None] * len(sizes)
        del group

    def in_holes(number):
        made = [bytes(size) for size in sizes * number]
        return sum(any(id(thing) in hole for hole in freed) for thing in made)

    assert in_holes(5) > 30, "holes would be filled first"
    holes.fill_holes()
    assert in_holes(20) < 3
    print("well")
"""


@pytest.mark.skipif(not hasattr(CDLL(None), "gnu_get_libc_version"), reason="another malloc() than glibc's")
def test_holes_of_the_heap_are_filled() -> None:
    goes_well(HEAP)


@pytest.mark.parametrize("size", [16, 32, 48, 256, 512])
def test_holes_are_filled(size: int) -> None:
    # The allocator of development mode gives every object a larger place.
    goes_well(PROGRAM, str(size), environ={"PYTHONMALLOC": "pymalloc"})
