"""Text that is not ours (a client's, a worker's, an app's) on its way to a log, a terminal, a title or a message.

A line break in it would make a line that looks like one of ours, an escape sequence would steer the terminal, a mark of
writing direction would show it in another order. Such characters are shown by their numbers: \\x1b, \\u2028.
"""

from __future__ import annotations

import json
import re
from typing import Any

#: C0, DEL and C1; soft hyphen; marks of direction and what cannot be seen; line and paragraph separators; the halves of
#: surrogate pairs, which no UTF-8 has; tags. What is between joins letters and emoji, and stays.
_UNSAFE = (
    "\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff"
)
_ONE_LINE = re.compile(f"[{_UNSAFE}]")
_LINES = re.compile(f"[{_UNSAFE}]".replace("\x00-\x1f", "\x00-\x08\x0b-\x1f"))
_QUOTED = re.compile(f'["\\\\{_UNSAFE}]')
_HALVES = re.compile("[\ud800-\udfff]")


def one_line(text: str) -> str:
    """Return `text` as part of one line."""
    return text if text.isprintable() else _ONE_LINE.sub(_number, text)


def quoted(text: str) -> str:
    """Return `text` to stand between double quotes: these, and backslashes, are shown by their numbers as well."""
    return _QUOTED.sub(_number, text)


def several_lines(text: str) -> str:
    """Return `text` with its line breaks and tabs."""
    return _LINES.sub(_number, text)


def complaint(text: str, traceback: str = "") -> str:
    """Return what a program says as it fails: a line, and below it the traceback, if there is one."""
    return one_line(text) + (f"\n{several_lines(traceback)}" if traceback else "")


def continuation(text: str) -> str:
    """Return the lines of `text`, a traceback say, each indented, so that none looks like an entry of a log."""
    return "".join(f"    {line}\n" for line in several_lines(text.rstrip("\n")).split("\n"))


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Return `value` as JSON in plain ASCII, whatever is in it: what JSON has no word for is written as text."""
    try:
        text = json.dumps(value, default=str, allow_nan=False, indent=indent)
    except ValueError:  # NaN, Infinity
        text = json.dumps(_plain(value), default=str, indent=indent)
    if "\\ud" in text:  # half a surrogate pair perhaps, which strict parsers refuse
        text = json.dumps(_plain(value), default=str, indent=indent)
    return text.replace("\x7f", "\\u007f")


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return _HALVES.sub(_number, value)
    if isinstance(value, dict):
        return {_plain(key) if isinstance(key, str) else key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value - value != 0.0:
        return str(value)
    return value if isinstance(value, (int, float)) or value is None else _plain(str(value))


def _number(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00  # a byte that was no UTF-8, as surrogateescape keeps it
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
