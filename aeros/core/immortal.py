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
from collections.abc import Callable, Collection, Set
from enum import EnumMeta
from itertools import chain, compress, repeat
from operator import attrgetter, rshift, setitem
from re import Pattern
from typing import Any

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
_NAMESPACES = frozenset({dict, tuple})
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
    # All without a loop of bytecode, which would take twice as long: a start waits for this. By type and not by
    # isinstance(), which asks a proxy for what it stands for.
    kinds = list(map(type, known))
    present = set(kinds)
    classes = {kind for kind in present if issubclass(kind, type)}
    wanted = _PROGRAM | classes | {kind for kind in present if isinstance(kind, EnumMeta)}
    functions = _of(known, {types.FunctionType}, kinds)
    modules = _of(known, {types.ModuleType}, kinds)
    done = _immortalise(_of(known, wanted, kinds))
    # What a look-up goes through: the namespaces of modules and classes, the order of bases. A module must not be asked
    # for what it refers to: that of asyncio shows its free list of objects, which seeing them would revive (3.12).
    parts = [*map(vars, modules), *_of(gc.get_referents(*_of(known, classes, kinds)), _NAMESPACES)]
    done += _immortalise(parts) + _immortalise(_of(gc.get_referents(*parts), _PLAIN))
    # The collector does not know code, and so not what is in it. The names in it CPython has made immortal already.
    codes = list(map(attrgetter("__code__"), functions))
    while codes:
        values = list(filter(None, chain.from_iterable(map(attrgetter("co_consts"), codes))))
        values += chain.from_iterable(_of(values, {tuple}))
        done += _immortalise(codes) + _immortalise(values)
        # Code in code is what a function that makes functions makes them of; those that it has made had it already.
        codes = _of(values, {types.CodeType})
    return done


def _of(things: list[object], wanted: Set[type], kinds: list[type] | None = None) -> list[Any]:
    """Return those of the types that are wanted. kinds: their types, where these are known."""
    return list(compress(things, map(wanted.__contains__, kinds or map(type, things))))


def _immortalise(things: Collection[object]) -> int:
    counts = memoryview((_COUNT * _ADDRESSES).from_address(0)).cast("B").cast("I")
    immortal = _COUNT.from_address(id(None)).value
    places = map(rshift, map(id, things), repeat(2))
    write: Callable[[Any, int, int], None] = setitem
    deque(map(write, repeat(counts), places, repeat(immortal)), maxlen=0)
    return len(things)
