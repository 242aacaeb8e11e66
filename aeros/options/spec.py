"""What an option is, and how one is found by any of its names.

The rows themselves are in table.py. Everything else (command line, keywords, environment, files, help,
reference documentation, Hypercorn's Config) is derived from them: to add an option, add a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from ..core.record import record
from .units import Converter, format_duration, format_size

ENV_PREFIX = "AEROS_"


@record(eq=False)
class Option:
    """One option. `name` is its keyword, its key in a TOML file and, upper case after AEROS_, its variable.

    convert   anything given -> the option's type, or BadValueError
    default   the value when nothing is given, already converted; a function is called for it
    field     the attribute of Options; None for one that goes into Options.hypercorn under `hypercorn`
    hypercorn the attribute of hypercorn.Config, or None where Hypercorn knows no such thing
    flags     its arguments, best one first, all with the same meaning: the last one given wins.
              None makes one from the name, () says that only Python can give this option
    old_flags arguments Hypercorn has replaced: accepted, not shown in help, refused beside a new one that
    differs
    also      further names for keyword, file and variable, besides those made from arguments and attributes
    """

    name: str
    group: str
    convert: Converter
    default: object | Callable[[], object]
    help: str
    metavar: str = "N"
    field: str | None = None
    hypercorn: str | None = None
    flags: tuple[str, ...] | None = None
    old_flags: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    kind: Literal["value", "switch", "list"] = "value"
    default_text: str | None = None
    secret: bool = False

    @property
    def arguments(self) -> tuple[str, ...]:
        """All its arguments that help should show."""
        return ("--" + self.name.replace("_", "-"),) if self.flags is None else self.flags

    @property
    def names(self) -> tuple[str, ...]:
        """All its names as keyword, file key and variable, the proper one first."""
        made = [self.name, self.field, self.hypercorn, *self.also]
        made += [flag[2:].replace("-", "_") for flag in (*self.arguments, *self.old_flags) if flag.startswith("--")]
        return tuple(dict.fromkeys(name for name in made if name))

    @property
    def variable(self) -> str:
        """The name of its environment variable."""
        return ENV_PREFIX + self.name.upper()

    def default_value(self) -> object:
        """Return the default, computed where it depends on the machine."""
        return self.default() if callable(self.default) else self.default

    def show(self, value: object) -> str:
        """Return a value as text for people; a secret one is not shown."""
        if self.secret and value is not None:
            return "***"
        if value is None:
            return "none"
        if isinstance(value, tuple):
            return " ".join(map(str, value)) or "none"
        if isinstance(value, bool):
            return str(value).lower()
        if self.metavar == "TIME" and isinstance(value, int | float):
            return format_duration(value)
        if self.metavar == "OCTAL" and isinstance(value, int):
            return f"{value:04o}"
        if self.metavar == "SIZE" and isinstance(value, int):
            return format_size(value)
        if isinstance(value, type):
            return f"{value.__module__}.{value.__qualname__}"
        name = getattr(value, "name", None)  # of a logger, or of one of ssl's enums, whose str() is a number
        return name if isinstance(name, str) else str(value)


def nearest(name: str, known: Iterable[str], *, close: bool = False) -> str | None:
    """Return the known name most like the given one, or None.

    A longer name that begins with the given one is the best guess. close: only what can hardly be anything
    but a typing error.
    """
    import difflib  # only ever needed on the way to an error message

    names = sorted(set(known))
    for other in names:
        if other.lower() == name.lower():
            return other
    begins = [other for other in names if len(name.strip("-_")) >= 3 and other.startswith(name)]
    if begins and not close:
        return min(begins, key=len)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.85 if close else 0.6)
    return near[0] if near else None


def by_name(options: Iterable[Option]) -> Mapping[str, Option]:
    """Return each option under all its names."""
    return {name: option for option in options for name in option.names}
