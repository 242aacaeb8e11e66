"""Waiting for something to become true, always with a deadline; tests never sleep and hope."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: What a loaded machine with two shared cores may take for anything that should be quick.
SOON_S = 15.0


def eventually(check: Callable[[], T], deadline_s: float = SOON_S, what: str = "", pause_s: float = 0.02) -> T:
    """Return the first truthy value of check(), or fail with the last value seen once deadline_s is over.

    An AssertionError, OSError or LookupError inside check means not yet; other errors are faults of the test.
    """
    give_up_at = time.monotonic() + deadline_s
    last: object = None
    while True:
        try:
            value = check()
        except (AssertionError, OSError, LookupError) as error:
            last = error
        else:
            if value:
                return value
            last = value
        if time.monotonic() >= give_up_at:
            named = what or getattr(check, "__name__", "the condition")
            raise AssertionError(f"not within {deadline_s:g} s: {named} (last: {last!r})")
        time.sleep(pause_s)


def stays(check: Callable[[], object], for_s: float, what: str = "", pause_s: float = 0.05) -> None:
    """Hold that check() is truthy now and every pause_s until for_s is over: for what must *not* change."""
    until = time.monotonic() + for_s
    while time.monotonic() < until:
        value = check()
        assert value, f"did not stay so for {for_s:g} s: {what or check} (now: {value!r})"
        time.sleep(pause_s)


class Watch(threading.Thread):
    """Samples a reading in the background until stopped: `values` it saw, and `errors` it raised."""

    def __init__(self, read: Callable[[], object], pause_s: float = 0.05) -> None:
        super().__init__(daemon=True, name="watch")
        self._read = read
        self._pause_s = pause_s
        self._over = threading.Event()
        self.values: list[object] = []
        self.errors: list[Exception] = []

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join(30)
        assert not self.is_alive(), "the watched reading hangs"

    def run(self) -> None:
        while not self._over.is_set():
            try:
                self.values.append(self._read())
            except Exception as error:
                self.errors.append(error)
            self._over.wait(self._pause_s)
