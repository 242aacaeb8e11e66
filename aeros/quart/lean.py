"""What WebServer adds to Quart for speed: all of it with a Quart we were compared with, nothing with any other."""

from __future__ import annotations

from .versions import quart_line

# What is behind these reaches into Quart, so with a version other than its own it must not even be imported, or looked
# at by the type checker, which scripts/check tells what is true.
QUART_022 = quart_line() == "0.22"
QUART_023 = quart_line() == "0.23"

if QUART_022:
    from .response import LeanJSONProvider
    from .v022.app import LeanQuart
elif QUART_023:
    from .response import LeanJSONProvider
    from .v023.app import LeanQuart
else:
    from quart.json.provider import DefaultJSONProvider as LeanJSONProvider

    class LeanQuart:
        """Nothing: this Quart's methods are not the ones the overrides were written for."""


__all__ = ["LeanJSONProvider", "LeanQuart"]
