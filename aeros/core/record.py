"""Frozen records that are cheap to define.

`dataclass(frozen=True)` compiles six methods for each class, a millisecond or so; with thirty kinds of messages a start
would feel it. Here one is compiled, the constructor; the others are written once.
"""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, field
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[T]) -> type[T]:
    """Make a frozen dataclass of `cls`, which is a `Record`."""
    return dataclass(repr=False, eq=False)(cls)


class Record:
    """Equal, hashed and shown by class and fields, like a frozen dataclass."""

    def __setattr__(self, name: str, value: object) -> None:
        # The constructor sets every field, and each can be set once.
        if name in self.__dict__ or name not in self.__dataclass_fields__:  # type: ignore[attr-defined]
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        self.__dict__[name] = value

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), *self.__dict__.values()))

    def __repr__(self) -> str:
        shown: dict[str, Any] = self.__dict__
        return f"{type(self).__qualname__}({', '.join(f'{name}={value!r}' for name, value in shown.items())})"
