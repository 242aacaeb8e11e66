"""Objects whose reference counts are never written again, so that using them unshares no memory.

Why: CPython counts references in the object itself. A worker that calls a function writes to the function, its code
and the names in it, and each such write copies a page that it shared with the zygote until then. CPython 3.12 and later
have a reference count that means "immortal" (PEP 683): it is never changed, and the object is never freed. `None` has
it, and each object here is given the count of `None`.

Which: only kinds of objects that a program is made of, and that live as long as the process anyway: functions, code
with its constants, classes and modules with their namespaces, descriptors, members of enumerations. Never an instance
of another class, a list or another dictionary: these may be dropped for the sake of what they refer to.

Never runs code of the app: a metaclass may define `__hash__`, `__eq__` or `__instancecheck__`, or forbid them. So a
class is known by its id(), is looked into through `type` itself, and is compared by `is`.

The risk: `sys.getrefcount()` of a function says nothing, and an extension in C that trusts a count it has no right to
may fail otherwise than before. `--immortal off` rules it out.
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
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import contextmanager
from enum import EnumMeta
from functools import cache
from importlib.machinery import ModuleSpec
from itertools import chain, compress
from operator import attrgetter
from re import Pattern
from typing import Any, cast

#: The part of a reference count that says "immortal", in every version that has it. In 3.14 the upper half has flags.
_COUNT = ctypes.c_uint32
_COUNT_SIZE = ctypes.sizeof(_COUNT)
#: An address and a length, as readv() takes them, and the most of these that any system takes at once.
_IOVEC_SIZE = 16
_AT_ONCE = 1024
_NEWEST = (3, 15)

#: What `type` itself knows of a class, whatever its metaclass says.
_bases_of: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
_namespace_of: Callable[[type], Any] = type.__dict__["__dict__"].__get__


def _ids(*kinds: type) -> frozenset[int]:
    return frozenset(map(id, kinds))


#: Beside classes, descriptors of any kind (functions are some) and members of enumerations.
_PROGRAM = _ids(
    ModuleSpec,
    Pattern,
    type(getattr(abc.ABC, "_abc_impl", None)),
    types.BuiltinFunctionType,
    types.CellType,
    types.CodeType,
    types.ModuleType,
)
#: Has `__get__`, but is made anew with each look-up, and holds an instance.
_PASSING = _ids(types.MethodType)
_NAMESPACES = _ids(dict, tuple)
_PLAIN = _ids(bytes, float, int, str, tuple)
_CODE = _ids(types.CodeType)


def why_mortal() -> str:
    """Return why this interpreter cannot make objects immortal, as part of a sentence; "" where it can."""
    if sys.implementation.name != "cpython":
        return f"{sys.implementation.name} counts no references"
    if sys.version_info < (3, 12):
        return "Python 3.11 has no immortal objects"
    if sys.version_info[:2] > _NEWEST:
        return f"this version of Aeros knows the reference counts of Python up to {_NEWEST[0]}.{_NEWEST[1]}"
    if "t" in sys.abiflags:
        return "a free-threaded Python counts references in another way"
    if sys.maxsize <= 1 << 32 or sys.byteorder != "little":
        return "it was tried on 64-bit little-endian machines only"
    return ""


def immortalise_program() -> int:
    """Make what the loaded program is made of immortal; return how many objects that are.

    For a process with nothing running beside it, before it forks. Raises Mortal where that cannot be done.
    """
    if reason := why_mortal():
        raise Mortal(reason)
    _try_one()
    of_kind = _living()
    metaclasses = [kind for kind in of_kind if _is_a(of_kind[kind][0], type)]
    chosen = {kind for kind in of_kind if _is_program(kind, of_kind[kind][0])} | {*metaclasses}
    written = _immortalise(chain.from_iterable(things for kind, things in of_kind.items() if kind in chosen))
    classes = list(chain.from_iterable(map(of_kind.__getitem__, metaclasses)))
    _number(classes)
    # What a look-up goes through: the namespaces of modules and classes, the order of bases. A module must not be asked
    # for what it refers to: that of asyncio shows its free list of objects, which seeing them would revive (3.12).
    modules: list[dict[str, object]] = list(map(vars, of_kind[id(types.ModuleType)]))
    written += _immortalise(modules)
    written += _immortalise(_of(_NAMESPACES, gc.get_referents(*classes)))
    written += _immortalise(_of(_PLAIN, chain.from_iterable(map(dict.values, modules))))
    functions: list[types.FunctionType] = of_kind[id(types.FunctionType)]
    return written + _immortalise_code(list(map(attrgetter("__code__"), functions)))


class Mortal(Exception):  # noqa: N818 - a state of the program, not a fault
    """The program keeps its reference counts; the text says why, as part of a sentence."""


def _try_one() -> None:
    """Check on one object that the count of None still means what it did when this was written."""
    one = object()
    _immortalise((one,))
    is_immortal: Callable[[object], bool] | None = getattr(sys, "_is_immortal", None)  # 3.14 and later
    if not (is_immortal(one) if is_immortal else sys.getrefcount(one) == sys.getrefcount(None)):
        raise Mortal("the reference count of None does not make an object immortal here")


def _living() -> dict[int, list[Any]]:
    """Return all that the collector knows, sorted by the id of its type."""
    # A start waits for this. By type() and not by isinstance(), which asks a proxy for what it stands for.
    known = gc.get_objects()
    of_kind: dict[int, list[Any]] = defaultdict(list)
    for kind, thing in zip(map(id, map(type, known)), known):  # noqa: B905 - strict is slower
        of_kind[kind].append(thing)
    return of_kind


def _is_program(kind: int, example: Any) -> bool:
    if kind in _PASSING:
        return False
    return kind in _PROGRAM or _is_a(type(example), EnumMeta) or _is_descriptor(type(example))


def _is_a(thing: Any, kind: type) -> bool:
    """As isinstance(), which asks `thing` for its `__class__` as well."""
    return any(base is kind for base in _bases_of(type(thing)) or ())


def _is_descriptor(kind: type) -> bool:
    return any("__get__" in _namespace_of(base) for base in _bases_of(kind) or ())


def _number(classes: Iterable[type]) -> None:
    """Have each class be given the number (version tag) that caches know it by, while it is shared.

    That is done when something is looked up in it for the first time. A name that no class has finds no descriptor
    to be called on the way, and `type` does not ask the metaclass's `__getattr__`.
    """
    look_up = type.__getattribute__
    for kind in classes:
        try:
            look_up(kind, "aeros: no such name")
        except AttributeError:
            pass


def _immortalise_code(codes: list[types.CodeType]) -> int:
    """The same for code, its constants, and the code in it. The collector knows none of these."""
    written = 0
    while codes:
        # The names in it CPython has made immortal already.
        values = [value for value in chain.from_iterable(map(attrgetter("co_consts"), codes)) if value is not None]
        written += _immortalise(codes) + _immortalise(values)
        # Code in code is what a function that makes functions makes them of; those that it has made had it already.
        codes = _of(_CODE, values)
    return written


def _of(kinds: Set[int], things: Iterable[Any]) -> list[Any]:
    """Return those of these types, given by id."""
    things = list(things)
    return list(compress(things, map(kinds.__contains__, map(id, map(type, things)))))


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
    with _pipe() as (reader, writer):
        for done in range(0, len(things), _AT_ONCE):
            number = min(_AT_ONCE, len(things) - done)
            os.write(writer, counts[: number * _COUNT_SIZE])
            if readv(reader, first + done * _IOVEC_SIZE, number) != number * _COUNT_SIZE:
                raise Mortal(f"readv(): {os.strerror(ctypes.get_errno())}")
    return len(things)


@contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    try:
        ends = os.pipe()
    except OSError as error:
        raise Mortal(f"there are no descriptors left for a pipe: {error.strerror}") from None
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)


@cache
def _readv() -> Callable[[int, int, int], int]:
    function = ctypes.CDLL(None, use_errno=True).readv
    function.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
    function.restype = ctypes.c_ssize_t
    return cast(Callable[[int, int, int], int], function)
