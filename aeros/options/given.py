"""What was given for the options, by whom and in which words, and how two layers of it come together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..core.record import record
from ..core.text import one_line
from ..errors import OptionsError
from .spec import Option, nearest
from .table import BY_NAME
from .units import BadValueError

#: What one source says, by the name of the option. A name that is not there was not given.
Layer = dict[str, "Given"]


@record
class Given:
    """One option with the value it was given, converted.

    spelled: the option in the user's words, for messages: "-w", "AEROS_WORKERS", "workers in a.toml".
    source: where it stood, for Options.sources: "argument", "environment AEROS_WORKERS", "file a.toml".
    """

    option: Option
    value: object
    spelled: str
    source: str

    def __str__(self) -> str:
        return f"{self.spelled} ({self.option.show(self.value)})"


def convert(option: Option, raw: object, spelled: str, source: str) -> Given:
    """Return the option with its value converted. Raises OptionsError naming the option and what would do."""
    try:
        return Given(option, option.convert(raw), spelled, source)
    except BadValueError as error:
        # A secret is never repeated, and a long value only in part: the message goes to logs and terminals.
        echo = f", not {shorten(raw)}" if error.echo and not option.secret else ""
        raise OptionsError(f"{spelled} {_cut(one_line(str(error)))}{echo}", option=option.name) from None


def _cut(text: str) -> str:
    """Return `text` cut where it would fill the screen."""
    return text if len(text) <= 400 else text[:397] + "…"


def shorten(value: object) -> str:
    """Return a value's repr for a message, cut where it would fill the screen."""
    try:
        shown = repr(value)
    except Exception:  # a repr of the user's own may do anything
        shown = f"<{type(value).__name__}>"
    return shown if len(shown) <= 100 else shown[:97] + "…"


def join(first: Layer, second: Layer) -> Layer:
    """Return both layers as one of the same rank. Raises OptionsError where they differ about an option."""
    for name, one in first.items():
        other = second.get(name)
        if other is not None and other.value != one.value:
            raise contradiction(one, other)
    return {**second, **first}


def contradiction(one: Given, other: Given) -> OptionsError:
    """Return the error for two values of which neither outranks the other."""
    return OptionsError(f"{one} and {other} contradict each other; give one of them", option=one.option.name)


def from_mapping(
    mapping: Mapping[str, object],
    source: str,
    *,
    where: str = "",
    known: Mapping[str, Option] = BY_NAME,
) -> Layer:
    """Return what keywords, a constructor or a file say.

    where: goes behind a name in messages (" in a.toml"). known: the options by all names that count here.
    Raises OptionsError for an unknown name, with the nearest known one, and for a value that does not fit.
    """
    layer: Layer = {}
    for name, raw in mapping.items():
        option = known.get(name) if isinstance(name, str) else None
        if option is None:
            raise unknown(str(name), known, where=where)
        layer = join({option.name: convert(option, raw, f"{name}{where}", source)}, layer)
    return layer


def unknown(spelled: str, known: Iterable[str], *, where: str = "", page: str = "aeros run --help") -> OptionsError:
    """Return the error for an option that does not exist, with the nearest one that does. page: lists them."""
    near = nearest(spelled, known)
    hint = f"did you mean {near}?" if near else f"`{page}` lists all options"
    return OptionsError(f"unknown option {shorten(spelled)[1:-1]}{where}: {hint}", option=spelled)
