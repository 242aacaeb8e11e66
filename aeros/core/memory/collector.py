"""Python's garbage collector, out of the way."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """Have nothing collected meanwhile.

    For imports: what they make is there to stay, and looking through it for garbage again and again while it comes to
    be is up to a tenth of the time they take. (Freezing it afterwards, so that it is not looked through later either,
    saved 25 ms of a start. But it is the host program's collector: whoever imports a library must find it unchanged.)
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
