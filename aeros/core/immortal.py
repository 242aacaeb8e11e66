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
import os
import sys
import types
from array import array
from collections.abc import Callable, Iterable, Set
from enum import EnumMeta
from functools import cache
from itertools import chain, compress
from operator import attrgetter
from re import Pattern
from typing import Any, cast

#: What says "immortal" is among the lowest 32 bits of a reference count in every version that has it.
_COUNT = ctypes.c_uint32
_COUNT_SIZE = ctypes.sizeof(_COUNT)
#: An address and a length, as readv() takes them, and no more of these at once than any system takes.
_IOVEC_SIZE = 16
_AT_ONCE = 1024

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
    """Whether this interpreter is one that was tried: CPython 3.12 or 3.13 with a GIL, 64 bits, little-endian."""
    return (
        sys.implementation.name == "cpython"
        and (3, 12) <= sys.version_info[:2] <= (3, 13)
        and "t" not in sys.abiflags
        and sys.maxsize > 1 << 32
        and sys.byteorder == "little"
    )


def immortalise_program() -> int:
    """Make what the loaded program is made of immortal; return how many objects that are, 0 where it cannot be done.

    For a process with nothing running beside it, before it forks. Costs less than a microsecond an object. Raises
    OSError when there is no descriptor left for a pipe.
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
    program = _of(known, wanted, kinds)
    kinds = list(map(type, program))
    done = _immortalise(program)
    # What a look-up goes through: the namespaces of modules and classes, the order of bases. A module must not be asked
    # for what it refers to: that of asyncio shows its free list of objects, which seeing them would revive (3.12).
    parts = list(map(vars, _of(program, {types.ModuleType}, kinds)))
    parts += _of(gc.get_referents(*_of(program, classes, kinds)), _NAMESPACES)
    done += _immortalise(parts) + _immortalise(_of(gc.get_referents(*parts), _PLAIN))
    # The collector does not know code, and so not what is in it. The names in it CPython has made immortal already.
    codes = list(map(attrgetter("__code__"), _of(program, {types.FunctionType}, kinds)))
    while codes:
        values = list(filter(None, chain.from_iterable(map(attrgetter("co_consts"), codes))))
        kinds = list(map(type, values))
        done += _immortalise(codes) + _immortalise(values)
        done += _immortalise(chain.from_iterable(_of(values, {tuple}, kinds)))
        # Code in code is what a function that makes functions makes them of; those that it has made had it already.
        codes = _of(values, {types.CodeType}, kinds)
    return done


def _of(things: list[object], wanted: Set[type], kinds: list[type] | None = None) -> list[Any]:
    """Return those of the types that are wanted. kinds: their types, where these are known."""
    return list(compress(things, map(wanted.__contains__, kinds or map(type, things))))


def _immortalise(things: Iterable[object]) -> int:
    """Write the count of None into each, a thousand with one call of the system, and without a loop of bytecode."""
    things = tuple(things)
    # A tuple ends with the addresses of what is in it. Made into a struct iovec each: where to write, and how much.
    addresses = (ctypes.c_uint64 * len(things)).from_address(id(things) + tuple.__basicsize__)
    places = array("Q", (0, _COUNT_SIZE)) * len(things)
    places[::2] = array("Q", bytes(addresses))
    counts = _COUNT.from_address(id(None)).value.to_bytes(_COUNT_SIZE, sys.byteorder) * _AT_ONCE
    first, _ = places.buffer_info()
    readv = _readv()
    reader, writer = os.pipe()
    try:
        for done in range(0, len(things), _AT_ONCE):
            number = min(_AT_ONCE, len(things) - done)
            os.write(writer, counts[: number * _COUNT_SIZE])
            if readv(reader, first + done * _IOVEC_SIZE, number) != number * _COUNT_SIZE:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(reader)
        os.close(writer)
    return len(things)


@cache
def _readv() -> Callable[[int, int, int], int]:
    function = ctypes.CDLL(None, use_errno=True).readv
    function.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
    function.restype = ctypes.c_ssize_t
    return cast(Callable[[int, int, int], int], function)
