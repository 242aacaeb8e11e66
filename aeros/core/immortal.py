"""Objects whose reference counts are never written again, so that looking at them unshares no memory.

CPython counts references in the object itself. A worker that calls a function writes to the function, to its code, to
the strings it names: each such write makes a page its own that it shared with the zygote until then, and half of what a
worker has for itself was that. CPython 3.12 and later have a reference count that means "immortal" (PEP 683): it is
never changed, and the object is never freed. None has it, and each object here is given the count of None.

Given it are only kinds of objects that a program is made of, and that end with the process anyway: functions, code with
its names and constants, classes and modules with their namespaces, descriptors, members of enumerations. Never an
instance of another class, a list or another dictionary: those may be let go of for the sake of what is behind them.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import types
from collections import deque
from collections.abc import Collection
from enum import EnumMeta
from itertools import chain, repeat
from operator import rshift
from re import Pattern

#: What says "immortal" is among the lowest 32 bits of a reference count in every version that has it.
_COUNT = ctypes.c_uint32
#: So many counts that any address a 64-bit process may have is among them.
_ADDRESSES = 1 << 46

_PROGRAM = frozenset(
    {
        property,
        staticmethod,
        classmethod,
        Pattern,
        types.BuiltinFunctionType,
        types.CellType,
        types.ClassMethodDescriptorType,
        types.CodeType,
        types.FunctionType,
        types.GetSetDescriptorType,
        types.MemberDescriptorType,
        types.MethodDescriptorType,
        types.ModuleType,
        types.WrapperDescriptorType,
    }
)
_PLAIN = frozenset({bytes, float, int, str, tuple})


def can_immortalise() -> bool:
    """Whether this interpreter is one that was tried: CPython 3.12 or 3.13 with a GIL, on a 64-bit system."""
    return (
        sys.implementation.name == "cpython"
        and (3, 12) <= sys.version_info[:2] <= (3, 13)
        and "t" not in sys.abiflags
        and sys.maxsize > 1 << 32
    )


def immortalise_program() -> int:
    """Make what the loaded program is made of immortal; return how many objects that are, 0 where it cannot be done.

    For a process with nothing running beside it, before it forks. Costs about half a microsecond an object.
    """
    if not can_immortalise():
        return 0
    known = gc.get_objects()
    kinds = set(map(type, known))
    # By type and not isinstance(), which asks a proxy for what it stands for.
    wanted = {kind for kind in kinds if kind in _PROGRAM or issubclass(kind, type) or isinstance(kind, EnumMeta)}
    things = [thing for thing in known if type(thing) in wanted]
    functions = [thing for thing in things if type(thing) is types.FunctionType]
    places = [thing for thing in things if type(thing) is types.ModuleType or issubclass(type(thing), type)]
    done = _immortalise(things)
    # What a call looks at, and what a look-up goes through: the namespaces of modules and classes, the order of bases.
    done += _immortalise([f.__qualname__ for f in functions])
    done += _immortalise([part for f in functions for part in (f.__closure__, f.__defaults__) if part])
    parts = [part for part in gc.get_referents(*places) if type(part) in (dict, tuple)]
    done += _immortalise(parts)
    done += _immortalise([part for part in gc.get_referents(*parts) if type(part) in _PLAIN])
    # The collector does not know code, and so not what is in it.
    codes = [function.__code__ for function in functions]
    names: set[str] = set()
    while codes:
        constants = [code.co_consts for code in codes]
        values = list(chain.from_iterable(constants))
        values += chain.from_iterable([value for value in values if type(value) is tuple])
        names.update(chain.from_iterable([code.co_names for code in codes]))
        done += _immortalise(codes) + _immortalise(constants) + _immortalise(values)
        # Code in code is what a function that makes functions makes them of; those that it has made had it already.
        codes = list({id(value): value for value in values if type(value) is types.CodeType}.values())
    return done + _immortalise(names)


def _immortalise(things: Collection[object]) -> int:
    counts = memoryview((_COUNT * _ADDRESSES).from_address(0)).cast("B").cast("I")
    immortal = _COUNT.from_address(id(None)).value
    # Without a loop of bytecode: it would take twice as long.
    deque(map(counts.__setitem__, map(rshift, map(id, things), repeat(2)), repeat(immortal)), maxlen=0)
    return len(things)
