"""Dataclasses that are cheap to define: `@record` is a frozen one, `@mutable` one that changes.

`dataclass` compiles three to six methods for each class, about a millisecond; with a hundred classes they were more
than half of what importing this package took. Here the methods are written once, and go by the names of the fields.

To others they are dataclasses: `dataclasses.fields`, `asdict`, `replace` and `is_dataclass` work, at the cost of who
asks first. Of `dataclasses.field`, `default`, `default_factory`, `init`, `repr`, `hash` and `compare` are heeded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError, field
from types import SimpleNamespace
from typing import Any, TypeVar, dataclass_transform, overload

T = TypeVar("T")

__all__ = ["as_dict", "field", "field_names", "field_types", "mutable", "record", "replace"]


@overload
def record(cls: type[T], /) -> type[T]: ...
@overload
def record(*, eq: bool = True, kw_only: bool = False) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[T] | None = None, /, *, eq: bool = True, kw_only: bool = False) -> Any:
    """Make `cls` a frozen record: equal, hashed and shown by its fields. eq=False: only itself is equal to it."""
    return _define(cls, frozen=True, eq=eq, kw_only=kw_only)


@overload
def mutable(cls: type[T], /) -> type[T]: ...
@overload
def mutable(*, eq: bool = True) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(field_specifiers=(field,))
def mutable(cls: type[T] | None = None, /, *, eq: bool = True) -> Any:
    """Make `cls` a record whose fields may be set; not hashable unless eq=False."""
    return _define(cls, frozen=False, eq=eq, kw_only=False)


def field_names(of: Any) -> tuple[str, ...]:
    """Return the names of the fields of a record or its class, in their order."""
    names: tuple[str, ...] = of.__plan__.names
    return names


def field_types(of: Any) -> dict[str, str]:
    """Return the annotation of each field, as it is written."""
    types: dict[str, str] = of.__plan__.types
    return types


def as_dict(of: Any) -> dict[str, Any]:
    """Return the fields as a dictionary, and so for records in them and in lists, tuples and dictionaries of them."""
    return {name: _plain(getattr(of, name)) for name in of.__plan__.names}


def replace(of: T, **changes: Any) -> T:
    """Return a copy with other values for some fields. TypeError for a name that is none of its fields."""
    plan: _Plan = of.__plan__  # type: ignore[attr-defined]
    kept = {name: getattr(of, name) for name in plan.arguments if name not in changes}
    return type(of)(**kept, **changes)


def _plain(value: Any) -> Any:
    if hasattr(type(value), "__plan__"):
        return as_dict(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([_plain(item) for item in value])
    return value


class _Plan:
    """What the methods need to know of a class."""

    def __init__(self, cls: type, *, kw_only: bool) -> None:
        self.kw_only = kw_only
        self.types: dict[str, Any] = {}
        self.defaults: dict[str, Any] = {}
        self.factories: dict[str, Callable[[], Any]] = {}
        #: The fields that were said more of than a default.
        self.apart: dict[str, Field[Any]] = {}
        for base in reversed(cls.__mro__[1:]):
            if (plan := base.__dict__.get("__plan__")) is not None:
                self.types |= plan.types
                self.defaults |= plan.defaults
                self.factories |= plan.factories
                self.apart |= plan.apart
        for name, kind in cls.__annotations__.items():
            if str(kind).startswith(("ClassVar", "typing.ClassVar")):
                continue
            self.types[name] = kind
            default = cls.__dict__.get(name, MISSING)
            if isinstance(default, Field):
                self.apart[name] = default
                if default.default_factory is not MISSING:
                    self.factories[name] = default.default_factory
                default = default.default
                # As with a dataclass, what is on the class is the default itself, or nothing.
                if default is MISSING:
                    delattr(cls, name)
                else:
                    setattr(cls, name, default)
            if default is not MISSING:
                self.defaults[name] = default
        self.names = tuple(self.types)
        self.arguments = self.shown = self.compared = self.hashed = self.names
        if apart := self.apart:
            self.arguments = tuple(n for n in self.names if n not in apart or apart[n].init)
            self.shown = tuple(n for n in self.names if n not in apart or apart[n].repr)
            self.compared = tuple(n for n in self.names if n not in apart or apart[n].compare)
            self.hashed = tuple(n for n in self.compared if n not in apart or apart[n].hash is not False)
        self.allowed = frozenset(self.arguments)


def _define(cls: type | None, *, frozen: bool, eq: bool, kw_only: bool) -> Any:
    if cls is None:
        return lambda cls: _define(cls, frozen=frozen, eq=eq, kw_only=kw_only)
    plan = _Plan(cls, kw_only=kw_only)
    methods: dict[str, Any] = {"__init__": _init, "__repr__": _repr, "__replace__": replace}
    if frozen:
        methods |= {"__setattr__": _refuse_to_set, "__delattr__": _refuse_to_delete}
    if eq:
        methods |= {"__eq__": _eq, "__hash__": _hash if frozen else None}
    for name, method in methods.items():
        # `__hash__` is in a class that has written its own `__eq__`; as None it says nothing.
        if cls.__dict__.get(name) is None:
            setattr(cls, name, method)
    cls.__plan__ = plan  # type: ignore[attr-defined]
    setattr(cls, "__match_args__", () if kw_only else plan.arguments)  # noqa: B010 - mypy knows it as final
    cls.__dataclass_fields__ = _FieldsWhenAsked()  # type: ignore[attr-defined]
    cls.__dataclass_params__ = SimpleNamespace(frozen=frozen, eq=eq, kw_only=kw_only)  # type: ignore[attr-defined]
    return cls


def _init(self: Any, *values: Any, **named: Any) -> None:
    plan: _Plan = self.__plan__
    arguments = plan.arguments
    # Not attribute by attribute: a frozen one refuses that.
    state = self.__dict__
    state.update(plan.defaults)
    if values:
        if plan.kw_only or len(values) > len(arguments):
            most = 0 if plan.kw_only else len(arguments)
            raise TypeError(f"{type(self).__name__}() takes at most {most} positional arguments ({len(values)} given)")
        state.update(zip(arguments, values, strict=False))
    if named:
        for name in arguments[: len(values)]:
            if name in named:
                raise TypeError(f"{type(self).__name__}() got two values for argument {name!r}")
        if not named.keys() <= plan.allowed:
            name = next(name for name in named if name not in plan.allowed)
            raise TypeError(f"{type(self).__name__}() got an unexpected argument {name!r}")
        state.update(named)
    if len(state) < len(plan.names):
        _fill(self, plan, state)
    if hasattr(self, "__post_init__"):
        self.__post_init__()


def _fill(self: Any, plan: _Plan, state: dict[str, Any]) -> None:
    missing = []
    for name in plan.names:
        if name not in state:
            if name in plan.factories:
                state[name] = plan.factories[name]()
            elif name in plan.allowed:
                missing.append(name)
    if missing:
        raise TypeError(f"{type(self).__name__}() misses {', '.join(map(repr, missing))}")


def _repr(self: Any) -> str:
    return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__plan__.shown)})"


def _eq(self: Any, other: Any) -> Any:
    if type(other) is not type(self):
        return NotImplemented
    mine, its = self.__dict__, other.__dict__
    return all(mine[name] == its[name] for name in self.__plan__.compared)


def _hash(self: Any) -> int:
    plan: _Plan = self.__plan__
    mine = self.__dict__
    return hash((type(self), *[mine[name] for name in plan.hashed]))


def _refuse_to_set(self: Any, name: str, value: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: Any, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


class _FieldsWhenAsked:
    """`__dataclass_fields__` of a class, made when the `dataclasses` module first looks for it."""

    def __get__(self, instance: object, cls: Any) -> dict[str, Field[Any]]:
        import dataclasses

        plan: _Plan = cls.__plan__
        made = dataclasses.make_dataclass(
            cls.__name__,
            [
                (
                    name,
                    plan.types[name],
                    dataclasses.field(
                        default=plan.defaults.get(name, MISSING),
                        default_factory=plan.factories.get(name, MISSING),  # type: ignore[arg-type]
                        init=name in plan.arguments,
                        repr=name in plan.shown,
                        compare=name in plan.compared,
                        kw_only=True,
                    ),
                )
                for name in plan.names
            ],
        )
        fields: dict[str, Field[Any]] = made.__dataclass_fields__  # type: ignore[attr-defined]
        cls.__dataclass_fields__ = fields
        return fields
