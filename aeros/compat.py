"""Which Quart is installed, and whether it is one whose inner workings we know."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version

#: Beginnings of the Quart versions that the lean request path and the direct path were compared with
#: (scripts/quart_suite proves it). With any other, Quart's own code runs, through public interfaces alone.
COMPARED_WITH = ("0.22.",)


@cache
def knows_quart() -> bool:
    """Return whether the installed Quart is one of those versions. Found out once, before the fork: it is dear."""
    return version("quart").startswith(COMPARED_WITH)
