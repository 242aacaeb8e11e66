"""`core.immortal`: what a program is made of keeps its reference count; what is let go of is still freed."""

from __future__ import annotations

import pytest

from aeros.core.immortal import can_immortalise
from tests.helpers.child import goes_well

#: In a process of its own: what is made immortal there is so for ever.
PROGRAM = """
    import asyncio, gc, sys, weakref
    from aeros.core.immortal import immortalise_code, immortalise_program

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
    program += [sys.intern("some_name"), sys.__spec__]
    before = [sys.getrefcount(thing) for thing in program]
    class Descriptor:
        def __get__(self, instance, owner):
            return 7

    Kind.described = Descriptor()
    bound = held.__init__
    functions = immortalise_program()
    assert outer in functions and len(functions) > 3000, len(functions)
    assert sys.getrefcount(outer.__code__) < 100, "code is left for later"
    immortalise_code([function.__code__ for function in functions])
    immortal = sys.getrefcount(None)
    for thing in program:
        assert sys.getrefcount(thing) == immortal, thing
    assert sys.getrefcount(vars(Kind)["described"]) == immortal and Kind.described == 7
    assert sys.getrefcount(held) < 10 and sys.getrefcount(bound) < 10
    del held, bound
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
    Kind = type("Kind", (Kind,), {"later": sys.intern("later" + str(len(functions)))})
    assert gc.collect() >= 0
    print("well")
"""


@pytest.mark.skipif(not can_immortalise(), reason="this Python has no immortal objects")
def test_a_program_is_immortal_and_its_data_is_not() -> None:
    goes_well(PROGRAM, options=("-X", "dev"))


UNHASHABLE = """
    from aeros.core import memory

    class Meta(type):
        def __eq__(self, other):
            return self is other

    class Kind(metaclass=Meta):
        pass

    kept = [Kind(), {}]
    memory.settle_memory()
    assert memory.is_settled()
    print("well")
"""


def test_a_program_with_classes_that_cannot_be_hashed_starts_too() -> None:
    goes_well(UNHASHABLE)


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
    goes_well(NO_DESCRIPTORS)
