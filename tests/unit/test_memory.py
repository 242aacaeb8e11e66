"""Code that was run once is let go of, and nothing else."""

from __future__ import annotations

import sys

import pytest

from tests.helpers.child import goes_well

PROGRAM = """
    import ctypes, mmap, tempfile
    import quart, uvloop
    from aeros.core.memory import release_code

    def resident_kib():
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("RssFile:"))

    # As a debugger leaves code behind, or a loader what it has relocated: written to, but not from now on.
    page = mmap.PAGESIZE
    with tempfile.TemporaryFile() as file:
        file.write(b"a" * 2 * page)
        file.flush()
        changed = mmap.mmap(file.fileno(), 2 * page, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    changed[:5] = b"break"
    start = ctypes.addressof(ctypes.c_char.from_buffer(changed))
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(start), 2 * page, mmap.PROT_READ) == 0

    before = resident_kib()
    release_code()
    after = resident_kib()
    assert after < 0.7 * before, (before, after)
    assert changed[:6] == b"breaka" and changed[page : page + 1] == b"a"

    # All of it is still there for whoever runs it.
    import asyncio, json, ssl
    assert json.loads("[1]") == [1] and ssl.create_default_context() is not None
    loop = uvloop.new_event_loop()
    assert loop.run_until_complete(asyncio.sleep(0, "well")) == "well"
    loop.close()
    print("well")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems say nothing of their mappings")
def test_code_is_let_go_of_and_nothing_that_was_written() -> None:
    goes_well(PROGRAM)


UNTOLD = """
    import pathlib, re
    from aeros.core import memory

    class Smaps:
        def open(self):
            lines = pathlib.Path("/proc/self/smaps").read_text()
            return __import__("io").StringIO(re.sub(r"(Anonymous|Swap): +[0-9]+ kB", r"\\1: 0 kB", lines))

    memory._SMAPS = Smaps()
    before = pathlib.Path("/proc/self/statm").read_text().split()[2]
    memory.release_code()
    assert int(pathlib.Path("/proc/self/statm").read_text().split()[2]) >= int(before)
    print("well")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems say nothing of their mappings")
def test_nothing_is_let_go_of_where_it_is_not_said_what_was_written() -> None:
    goes_well(UNTOLD)
