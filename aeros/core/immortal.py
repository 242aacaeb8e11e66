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

import abc
import ctypes
import gc
import os
import sys
import types
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from enum import EnumMeta
from functools import cache
from importlib.machinery import ModuleSpec
from itertools import chain, compress, repeat
from operator import attrgetter
from re import Pattern
from typing import Any, cast

#: What says "immortal" is among the lowest 32 bits of a reference count in every version that has it.
_COUNT = ctypes.c_uint32
_COUNT_SIZE = ctypes.sizeof(_COUNT)
#: An address and a length, as readv() takes them, and no more of these at once than any system takes.
_IOVEC_SIZE = 16
_AT_ONCE = 1024

#: Beside classes, descriptors of any kind (functions are some) and members of enumerations.
_PROGRAM = frozenset(
    {
        ModuleSpec,
        Pattern,
        type(getattr(abc.ABC, "_abc_impl", None)),
        types.BuiltinFunctionType,
        types.CellType,
        types.CodeType,
        types.ModuleType,
    }
)
#: Has `__get__`, but is made anew with each look-up, and holds an instance.
_PASSING = frozenset({types.MethodType})
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


def immortalise_program() -> list[types.FunctionType]:
    """Make what the loaded program is made of immortal, but for its code; return its functions.

    For a process with nothing running beside it, before it forks, where can_immortalise(). Nothing is done, and []
    returned, where the program has classes that are hashed in a way of their own, or not at all. Raises OSError when
    there is no descriptor left for a pipe.
    """
    if any("__hash__" in vars(metaclass) for metaclass in _heirs_of(type)):
        return []
    # A start waits for this, and for memory more than for bytecode: all there is is looked at once, and sorted. By type
    # and not by isinstance(), which asks a proxy for what it stands for.
    known = gc.get_objects()
    of_kind: dict[type, list[Any]] = defaultdict(list)
    for kind, thing in zip(map(type, known), known):  # noqa: B905 - strict is slower
        of_kind[kind].append(thing)
    metaclasses = [kind for kind in of_kind if issubclass(kind, type)]
    chosen = {kind for kind in of_kind if isinstance(kind, EnumMeta) or _is_descriptor(kind)}
    chosen = (chosen | {*metaclasses} | _PROGRAM) - _PASSING
    _immortalise(list(chain.from_iterable(things for kind, things in of_kind.items() if kind in chosen)))
    classes = list(chain.from_iterable(map(of_kind.__getitem__, metaclasses)))
    # The number that caches know a class by is given to it when something of it is looked up for the first time.
    for _ in map(type.__getattribute__, classes, repeat("__hash__")):
        pass
    # What a look-up goes through: the namespaces of modules and classes, the order of bases. A module must not be asked
    # for what it refers to: that of asyncio shows its free list of objects, which seeing them would revive (3.12).
    modules: list[dict[str, object]] = list(map(vars, of_kind[types.ModuleType]))
    _immortalise(modules)
    _immortalise(_of(_NAMESPACES, gc.get_referents(*classes)))
    _immortalise(_of(_PLAIN, chain.from_iterable(map(dict.values, modules))))
    return of_kind[types.FunctionType]


def immortalise_code(codes: Sequence[types.CodeType]) -> None:
    """The same for code, its constants, and the code in it. The collector knows none of these."""
    while codes:
        # The names in it CPython has made immortal already.
        values = tuple(filter(None, chain.from_iterable(map(attrgetter("co_consts"), codes))))
        _immortalise(codes)
        _immortalise(values)
        # Code in code is what a function that makes functions makes them of; those that it has made had it already.
        codes = _of({types.CodeType}, values)


def _heirs_of(kind: type) -> Iterator[type]:
    heirs: list[type] = type.__subclasses__(kind)
    for heir in heirs:
        yield heir
        yield from _heirs_of(heir)


def _is_descriptor(kind: type) -> bool:
    return any("__get__" in vars(base) for base in kind.__mro__)


def _of(kinds: Set[type], things: Iterable[Any]) -> list[Any]:
    """Return those of these types."""
    things = list(things)
    return list(compress(things, map(kinds.__contains__, map(type, things))))


def _immortalise(things: Sequence[object]) -> None:
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


@cache
def _readv() -> Callable[[int, int, int], int]:
    function = ctypes.CDLL(None, use_errno=True).readv
    function.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
    function.restype = ctypes.c_ssize_t
    return cast(Callable[[int, int, int], int], function)
