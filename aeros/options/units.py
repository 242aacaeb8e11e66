"""Plain values from what people write: durations, sizes, counts, switches.

Every converter takes whatever the option was given as (text from a command line, a Python value from a
keyword or a file) and returns the one type the option has, or raises BadValueError.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

Converter = Callable[[object], object]

#: Longer waits than this are typing errors, and near 2**63 ns the kernel's timers refuse them.
LONGEST_S = 366 * 86400.0

_NUMBER = r"([0-9]{1,18}(?:\.[0-9]{1,18})?)"
# Patterns are compiled when a text comes first: a start often has none.
_DURATION = rf"(?:{_NUMBER}d)?\s*(?:{_NUMBER}h)?\s*(?:{_NUMBER}m(?!s))?\s*(?:{_NUMBER}s)?\s*(?:{_NUMBER}ms)?"
_UNITS = (("d", 86400.0), ("h", 3600.0), ("m", 60.0), ("s", 1.0), ("ms", 0.001))
_SIZE = rf"(?i){_NUMBER}\s*([kmgt]?)(?:i?b)?"
_WHOLE = r"[+-]?[0-9]{1,18}"
_SCALE = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SWITCH = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}
_NOTHING = ("none", "off")


class BadValueError(ValueError):
    """A value does not fit its option. The text goes on from the option's name: "must be …".

    echo: whether the sentence should end with the value itself (", not 'x'").
    """

    def __init__(self, text: str, *, echo: bool = True) -> None:
        super().__init__(text)
        self.echo = echo


def whole(low: int, high: int | None = None) -> Converter:
    """Return a converter to int from `low` to `high`, both included. "2" will do; 2.5 and True will not."""
    span = f"of at least {low}" if high is None else f"from {low} to {high}"

    def convert(value: object) -> int:
        number: int | None = None
        if isinstance(value, int) and not isinstance(value, bool):
            number = value
        elif isinstance(value, str) and re.fullmatch(_WHOLE, value.strip()):
            number = int(value.strip())  # int() knows less white space than strip()
        if number is None or number < low or (high is not None and number > high):
            raise BadValueError(f"must be a whole number {span}")
        return number

    return convert


def parse_duration(value: object) -> float:
    """Return seconds for 30, 2.5, "30", "30s", "5m", "1h30m" or "250ms" (largest unit first).

    Units: d, h, m, s, ms. Raises BadValueError for anything else: negative, not finite, over 366 days, True.
    """
    wanted = "must be a duration such as 30s, 5m, 1h30m, 250ms or seconds, from 0 to 366d"
    seconds: float | None = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        # An int too large for a float would raise OverflowError.
        seconds = float(value) if abs(value) <= LONGEST_S else math.inf
    elif isinstance(value, str):
        text = value.strip().lower()
        if re.fullmatch(_NUMBER, text):
            seconds = float(text)
        elif text and (match := re.fullmatch(_DURATION, text)):
            # Rounded to the microsecond so that 1s100ms is 1.1 and not 1.1000000000000001.
            parts = zip(match.groups(), _UNITS, strict=True)
            seconds = round(sum(float(number) * unit for number, (_, unit) in parts if number), 6)
    if seconds is None or not 0 <= seconds <= LONGEST_S:
        raise BadValueError(wanted)
    return seconds


def format_duration(seconds: float) -> str:
    """Return the shortest text that parse_duration reads back as the same time: 90.0 gives "1m30s".

    seconds: 0 to 366 days; parts below a microsecond are lost.
    """
    micros = round(seconds * 1_000_000)
    text = ""
    for unit, size in (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000)):
        count, micros = divmod(micros, size)
        text += f"{count}{unit}" if count else ""
    if micros:
        text += f"{micros / 1000:g}ms" if micros % 1000 else f"{micros // 1000}ms"
    return text or "0s"


def duration(*, above_zero: bool = False, off: bool = False) -> Converter:
    """Return a converter to seconds as float; see parse_duration for what it reads.

    off: None, "none" and "off" mean 0, for a time where 0 switches something off.
    """

    def convert(value: object) -> float:
        if off and (value is None or (isinstance(value, str) and value.strip().lower() in _NOTHING)):
            return 0.0
        seconds = parse_duration(value)
        if above_zero and seconds == 0:
            raise BadValueError("must be longer than 0")
        return seconds

    return convert


def parse_size(value: object) -> int:
    """Return bytes for 4096, "4096", "64K", "512M", "1.5GiB" or "2GB".

    All units are powers of 1024, as in systemd and Docker, with and without the "i" and the "B".
    Raises BadValueError for anything else.
    """
    size: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str) and (match := re.fullmatch(_SIZE, value.strip())):
        number, unit = match.groups()
        scaled = float(number) * _SCALE[unit.lower()] if "." in number else int(number) * _SCALE[unit.lower()]
        # "1.5" bytes is a mistake; "0.3K" is not one, if not a whole number of bytes either.
        size = int(scaled) if unit or scaled == int(scaled) else None
    if size is None or not 0 <= size < 1 << 59:
        raise BadValueError("must be a size such as 512M, 2G, 64K or bytes")
    return size


def format_size(size: int) -> str:
    """Return the shortest text that parse_size reads back as the same size: 536870912 gives "512M"."""
    for unit in ("t", "g", "m", "k"):
        if size and size % _SCALE[unit] == 0:
            return f"{size // _SCALE[unit]}{unit.upper()}"
    return str(size)


def size(low: int, *, high: int | None = None) -> Converter:
    """Return a converter to bytes as int, from `low` to `high`; see parse_size for what it reads."""

    def convert(value: object) -> int:
        amount = parse_size(value)
        if amount < low:
            raise BadValueError(f"must be at least {format_size(low)} (units are K, M and G)")
        if high is not None and amount > high:
            raise BadValueError(f"must be at most {format_size(high)}")
        return amount

    return convert


def switch(value: object) -> bool:
    """Return a bool for True, False, and the words 1/0, true/false, yes/no, on/off."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _SWITCH:
        return _SWITCH[value.strip().lower()]
    raise BadValueError("must be true or false")


def or_none(convert: Converter, *, zero: bool = False) -> Converter:
    """Return a converter that also gives None for None, "none", "off" and, with `zero`, for 0."""

    def convert_or_none(value: object) -> object:
        if value is None or (isinstance(value, str) and value.strip().lower() in _NOTHING):
            return None
        result = convert_zero(value) if zero else convert(value)
        return None if zero and result == 0 else result

    def convert_zero(value: object) -> object:
        # Zero may be below what `convert` allows, and True == 0 + 1 is no number here.
        if not isinstance(value, bool) and (value == 0 or (isinstance(value, str) and value.strip() == "0")):
            return 0
        return convert(value)

    return convert_or_none
