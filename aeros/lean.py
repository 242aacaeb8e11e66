"""What WebServer adds to Quart for speed: all of it with a Quart we were compared with, nothing with any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .compat import knows_quart

# The modules behind this reach into Quart, so with a version they do not know they must not even be imported.
if TYPE_CHECKING or knows_quart():
    from .lean_quart import LeanQuart
    from .lean_response import LeanJSONProvider
else:
    from quart.json.provider import DefaultJSONProvider as LeanJSONProvider

    class LeanQuart:
        """Nothing: this Quart's methods are not the ones the overrides were written for."""


__all__ = ["LeanJSONProvider", "LeanQuart"]
