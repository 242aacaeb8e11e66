"""What kind of Python this is, where that matters to a server."""

from __future__ import annotations

import sys


def untested(abiflags: str = sys.abiflags) -> str:
    """Return a sentence about this interpreter if Aeros is served by it, but not tested with it; "" for all others."""
    if "t" in abiflags:
        return (
            "this is a free-threaded Python (no GIL): Aeros serves with it, but is not tested with it, and its workers "
            "gain nothing, since each runs one event loop in one thread; the ordinary build shares more memory"
        )
    return ""
