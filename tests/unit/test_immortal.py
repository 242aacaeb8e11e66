"""`core.immortal`: what a program is made of keeps its reference count; what is let go of is still freed."""

from __future__ import annotations

import pytest

from aeros.core.memory.immortal import why_mortal
from tests.helpers.child import goes_well

#: In a process of its own: what is made immortal there is so for ever.
PROGRAM = """
    import asyncio, gc, sys, weakref
    from aeros.core.memory.immortal import immortalise_program

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
    assert immortalise_program() > 20_000
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
    Kind = type("Kind", (Kind,), {"later": sys.intern("later" + str(len(program)))})
    assert gc.collect() >= 0
    print("well")
"""


@pytest.mark.skipif(bool(why_mortal()), reason=why_mortal())
def test_a_program_is_immortal_and_its_data_is_not() -> None:
    goes_well(PROGRAM, options=("-X", "dev"))


METACLASSES = """
    import enum, sys, types, weakref
    from aeros.core.memory.immortal import immortalise_program

    called = []

    def loud(name):
        def method(self, *arguments):
            called.append(name)
            return getattr(type, name)(self, *arguments)
        return method

    # As in the libraries that have them: sqlalchemy, pydantic, typing_extensions, mocks.
    Loud = type("Loud", (type,), {name: loud(name) for name in (
        "__hash__", "__eq__", "__getattribute__", "__instancecheck__", "__subclasscheck__", "__subclasses__",
        "__bool__", "mro", "__dir__",
    )} | {"__len__": lambda self: called.append("__len__") or 0})
    Unhashable = type("Unhashable", (type,), {"__hash__": None, "__eq__": loud("__eq__")})

    class Shy(type):
        @property
        def __class__(self):
            called.append("__class__")
            return int

        @property
        def __dict__(self):
            called.append("__dict__")
            return {}

        @property
        def __mro__(self):
            called.append("__mro__")
            return ()

        def __getattr__(self, name):
            called.append("__getattr__")
            raise AttributeError(name)

    class Watching:
        def __get__(self, instance, owner):
            called.append("__get__")
            return None

    class LoudKind(metaclass=Loud):
        __hash__ = Watching()
        seen = Watching()
        aim = "loud"

    class Sibling(LoudKind):
        pass

    class UnhashableKind(metaclass=Unhashable):
        pass

    class ShyKind(metaclass=Shy):
        pass

    class Proxy:
        @property
        def __class__(self):
            called.append("a proxy's __class__")
            return types.FunctionType

    class LoudEnum(enum.Enum):
        ONE = 1

    kept = [LoudKind(), Sibling(), UnhashableKind(), ShyKind(), Proxy(), {}]
    called.clear()
    assert immortalise_program() > 10_000
    assert not called, called
    immortal = sys.getrefcount(None)
    for kind in (Loud, LoudKind, Sibling, Unhashable, UnhashableKind, Shy, ShyKind, Watching, LoudEnum, LoudEnum.ONE):
        assert sys.getrefcount(kind) == immortal, type.__repr__(kind)
    for thing in kept:
        assert sys.getrefcount(thing) < 20
    gone = weakref.ref(kept[0])
    del kept, thing
    assert gone() is None
    print("well")
"""


@pytest.mark.skipif(bool(why_mortal()), reason=why_mortal())
def test_no_code_of_the_app_is_called_and_all_its_classes_are_immortal() -> None:
    goes_well(METACLASSES)


NO_DESCRIPTORS = """
    import gc, os, resource, sys
    from aeros.core.memory import sharing as memory
    from aeros.core.log.lines import LineLog

    class Kind:
        pass

    used = os.open("/", os.O_RDONLY)
    resource.setrlimit(resource.RLIMIT_NOFILE, (used, used))
    memory.settle_memory(LineLog(""))
    assert memory.is_settled() and gc.get_freeze_count() > 1000
    assert sys.getrefcount(Kind) < 100
    print("well")
"""


@pytest.mark.skipif(bool(why_mortal()), reason=why_mortal())
def test_without_descriptors_the_program_stays_mortal() -> None:
    goes_well(NO_DESCRIPTORS)
