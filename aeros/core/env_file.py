"""Files of variables, as a shell, Docker and python-dotenv read them: NAME=VALUE, a line each."""

from __future__ import annotations

import re

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*)")
_QUOTED = re.compile(r"""(?:"((?:[^"\\]|\\.)*)"|'([^']*)')\s*(?:\#.*)?""")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


def parse(text: str) -> dict[str, str]:
    """Return the variables by name. Raises ValueError, naming the line.

    A value may stand in quotes, in double ones with escapes; without quotes a # after a space begins a comment.
    """
    found = {}
    for number, line in enumerate(text.lstrip("\ufeff").splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _LINE.fullmatch(stripped)
        if match is None:
            raise ValueError(f"line {number} is not NAME=VALUE")
        found[match[1]] = _value(match[2], number)
    return found


def _value(text: str, number: int) -> str:
    if text[:1] in ("'", '"'):
        quoted = _QUOTED.fullmatch(text)
        if quoted is None:
            raise ValueError(f"line {number} has a quote without its end")
        if quoted[1] is None:
            return quoted[2]
        return re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[1]), quoted[1])
    return re.split(r"(?:^|\s)#", text, maxsplit=1)[0].strip()
