"""`core.holes`: what comes after the filling goes to pools of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

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


@pytest.mark.parametrize("size", [16, 32, 48, 256, 512])
def test_holes_are_filled(size: int) -> None:
    child = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), str(size)],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONMALLOC": "pymalloc"},  # that of development mode gives every object a larger place
        timeout=60,
    )
    assert (child.returncode, child.stdout, child.stderr) == (0, "well\n", "")
