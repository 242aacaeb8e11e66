"""`core.immortal`: what a program is made of keeps its reference count; what is let go of is still freed."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from aeros.core.immortal import can_immortalise, immortalise_program

#: In a process of its own: what is made immortal there is so for ever.
PROGRAM = """
    import asyncio, gc, sys, weakref
    from aeros.core.immortal import immortalise_program

    def outer():
        def inner():
            return "a constant of inner", 12345.5, some_name
        return inner

    class Kind:
        pass

    class Held:
        pass

    # What awaits a future is kept in asyncio's free list when it is done, and is used again.
    async def wait(count):
        async def one():
            future = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(future.set_result, 1)
            await future
        await asyncio.gather(*(one() for _ in range(count)))

    asyncio.run(wait(5))
    held = Held()
    gone = weakref.ref(held)
    program = [outer, outer.__code__, outer(), outer().__code__, Kind, sys, *outer().__code__.co_consts[1:], str.join]
    program += [sys.intern("some_name")]
    before = [sys.getrefcount(thing) for thing in program]
    done = immortalise_program()
    immortal = sys.getrefcount(None)
    for thing in program:
        assert sys.getrefcount(thing) == immortal, thing
    assert done > 10_000, done
    assert sys.getrefcount(held) < 10
    del held
    assert gone() is None

    # Life goes on: futures are awaited, code is defined, run, collected and replaced.
    for _ in range(3):
        asyncio.run(wait(20))
        gc.collect()
        gc.freeze()
        exec("def other(): return [outer()() for _ in range(100)]", globals() | {"some_name": 1})
        gc.unfreeze()
        gc.collect()
    outer = None
    Kind = type("Kind", (Kind,), {"later": sys.intern("later" + str(done))})
    assert gc.collect() >= 0
    print("well")
"""


@pytest.mark.skipif(not can_immortalise(), reason="this Python has no immortal objects")
def test_a_program_is_immortal_and_its_data_is_not() -> None:
    child = subprocess.run(
        [sys.executable, "-X", "dev", "-c", textwrap.dedent(PROGRAM)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (child.returncode, child.stdout, child.stderr) == (0, "well\n", "")


@pytest.mark.skipif(can_immortalise(), reason="this Python has immortal objects")
def test_nothing_is_done_where_it_cannot_be() -> None:
    before = sys.getrefcount(textwrap)
    assert immortalise_program() == 0
    assert sys.getrefcount(textwrap) == before


NO_DESCRIPTORS = """
    import gc, os, resource, sys
    from aeros.core import memory

    class Kind:
        pass

    used = os.open("/", os.O_RDONLY)
    resource.setrlimit(resource.RLIMIT_NOFILE, (used, used))
    memory.settle_memory()
    assert memory.is_settled() and gc.get_freeze_count() > 1000
    assert sys.getrefcount(Kind) < 100
    print("well")
"""


@pytest.mark.skipif(not can_immortalise(), reason="this Python has no immortal objects")
def test_without_descriptors_the_program_stays_mortal() -> None:
    child = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(NO_DESCRIPTORS)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (child.returncode, child.stdout, child.stderr) == (0, "well\n", "")
