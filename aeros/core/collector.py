"""Python's garbage collector, out of the way."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

#: Python 3.12 begins its life with hundreds of objects frozen; whoever freezes on purpose freezes thousands.
_FEW = 1000


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """Have nothing collected meanwhile.

    For imports: what they make is there to stay, and looking through it for garbage again and again while it comes to
    be is up to a tenth of the time they take. Nor is it looked through right after: it counts as old from then on.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            if gc.get_freeze_count() < _FEW:
                # Two ends of lists are moved: what is frozen and thawed is of the oldest generation.
                gc.freeze()
                gc.unfreeze()
            gc.enable()
