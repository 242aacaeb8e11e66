"""Which Quart is installed, and whether it is one whose inner workings we know."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

#: Beginnings of the Quart versions that the lean request path and the direct path were compared with
#: (scripts/quart_suite proves it). With any other, Quart's own code runs, through public interfaces alone.
COMPARED_WITH = ("0.22.", "0.23.")


@cache
def quart_line() -> str | None:
    """Return "0.22" for 0.22.1 and so on, or None for a Quart nobody compared with.

    What differs between the lines stands in modules named after them (`lean_quart_022`). Each is chosen in one place,
    by a comparison with this, and follows that line's Quart only. Found out once, before the fork.
    """
    installed = _installed()
    return next((known.rstrip(".") for known in COMPARED_WITH if installed.startswith(known)), None)


def _installed() -> str:
    """Return Quart's version, from the name of the folder with its metadata: reading these would take a start 4 ms."""
    spec = find_spec("quart")
    if spec is not None and spec.origin is not None:
        with suppress(OSError):
            names = os.listdir(Path(spec.origin).parent.parent)  # noqa: PTH208 - twice as fast
            found = [name.removeprefix("quart-") for name in names if name.startswith("quart-")]
            found = [name for name in found if name[:1].isdigit() and name.endswith(".dist-info")]
            if len(found) == 1:
                return found[0].removesuffix(".dist-info")
    return version("quart")


def knows_quart() -> bool:
    """Return whether the installed Quart is one of those versions."""
    return quart_line() is not None


def own_code() -> str | None:
    """Return a sentence saying that Quart's own code serves, and which versions are served faster; None with those."""
    if knows_quart():
        return None
    known = " or ".join(f"{beginning}*" for beginning in COMPARED_WITH)
    return f"Quart {version('quart')} is served by its own, slower code: the lean path knows {known}"
