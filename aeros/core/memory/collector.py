"""Python's garbage collector, out of the way."""

from __future__ import annotations

import atexit
import contextlib
import gc
from collections.abc import Iterator

#: Python 3.12 begins its life with hundreds of objects frozen; whoever freezes on purpose freezes thousands.
_FEW = 1000
_FULL = 2


class _Aside:
    """What there is so far, frozen until a full collection is due: it is there to stay, most likely."""

    def __init__(self) -> None:
        #: Made after the last freezing here: where it is frozen, somebody else did so since.
        self._newer: list[None] | None = None

    def put(self) -> None:
        """Put everything there is now aside, unless somebody else freezes on purpose."""
        if self._newer is None:
            if gc.get_freeze_count() > _FEW:  # which counts them one by one
                return
            gc.callbacks.append(self._on_collection)
            atexit.register(self._thaw)  # the last collection of all is to find everything
        elif not self._is_alone():
            self.forget()
            return
        gc.freeze()
        self._newer = []

    def forget(self) -> bool:
        """Leave it to whoever calls; return whether anything is aside, and nothing else is frozen with it."""
        if self._newer is None:
            return False
        alone = self._is_alone()
        gc.callbacks.remove(self._on_collection)
        atexit.unregister(self._thaw)
        self._newer = None
        return alone

    def _is_alone(self) -> bool:
        return id(self._newer) in map(id, gc.get_objects())

    def _on_collection(self, phase: str, details: dict[str, int]) -> None:
        if phase == "start" and details["generation"] == _FULL:
            self._thaw()

    def _thaw(self) -> None:
        if self.forget():
            gc.unfreeze()


_aside = _Aside()


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """Have nothing collected meanwhile.

    For imports: what they make is there to stay, and looking through it for garbage again and again while it comes to
    be is up to a tenth of the time they take. Nor is it looked through afterwards, until a full collection is due.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            _aside.put()
            gc.enable()


def collect_new() -> None:
    """Collect the garbage made since the last pause; all there is, where a full collection came in between."""
    frozen = _aside.forget()
    gc.collect()
    if frozen:
        gc.unfreeze()
