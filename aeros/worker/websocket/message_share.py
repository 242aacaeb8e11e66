"""What the messages of one WebSocket take of the worker's budget for bodies, and the clock against a slow sender.

A message counts from its first bytes until the app has taken it, as a body that a handler awaits does (body_budget).
Small ones do not count, and neither does what may wait for the app in any case (READ_AHEAD): an app that only sends may
leave it there. Who holds part of the budget with half a message has to send the rest at the rate of a body.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from ..http1.slow_clients import BODY_WINDOW_S
from ..lane.body_budget import FREE
from .frames import POLICY
from .inbox import READ_AHEAD

if TYPE_CHECKING:
    from ..lane.service import Service

TRY_AGAIN_LATER = 1013


class Reading(Protocol):
    """Where the messages come from. full: the worker has no room for more."""

    service: Service
    full: bool

    def hold(self) -> None:
        """Read no further."""

    def resume(self) -> None:
        """Read on."""


class MessageShare:
    """A Holder of the budget. weight: bytes that count."""

    __slots__ = ("_budget", "_clock", "_excused", "_partial", "_received", "_seen", "_turn_away", "_wire", "weight")

    def __init__(self, wire: Reading, turn_away: Callable[[int, str], None]) -> None:
        """turn_away: close the WebSocket with this code and reason."""
        self._wire = wire
        self._budget = wire.service.bodies
        self._turn_away = turn_away
        self.weight = 0
        self._partial = self._received = self._seen = 0
        self._excused = False
        self._clock: asyncio.TimerHandle | None = None

    def count(self, partial: int, waiting: int, more: int = 0) -> None:
        """Count what is held of messages by now, and stop reading where the worker has no room for more.

        partial: bytes of the message under way. waiting: of those the app has not taken. more: that came just now.
        """
        self._partial = partial
        self._received += more
        size = partial + max(0, waiting - READ_AHEAD)
        if self._budget is None or (size <= FREE and not self.weight):
            return
        if size < self.weight:
            self._budget.forget(self)
        self._budget.keep(self, size)
        if partial > FREE and self._clock is None and self._wire.service.limits.min_data_rate:
            self._watch()
        if not self._budget.admits(self):
            self._wire.full = True
            self._wire.hold()

    def close(self) -> None:
        """The app is gone, and what it did not take with it. May be called again."""
        if not hasattr(self, "_wire"):
            return
        if self._clock is not None:
            self._clock.cancel()
        if self._budget is not None:
            self._budget.forget(self)
            self._budget = None
        self._wire.full = False
        # Else each of the two would keep the other until the next collection.
        del self._wire, self._turn_away

    # body_budget.Holder

    def go_on(self) -> None:
        self._wire.full = False
        self._wire.resume()

    def turn_away(self) -> None:
        self._end(TRY_AGAIN_LATER, "no memory for this message now")

    def _end(self, code: int, reason: str) -> None:
        self._wire.full = False
        self._turn_away(code, reason)

    # The clock

    def excuse(self) -> None:
        """Reading was paused: the client could not send."""
        self._excused = True

    def _watch(self) -> None:
        self._excused, self._seen = self._wire.full, self._received
        self._clock = self._wire.service.loop.call_later(BODY_WINDOW_S, self._check)

    def _check(self) -> None:
        self._clock = None
        if self._partial <= FREE:
            return
        least = (self._wire.service.limits.min_data_rate or 0) * BODY_WINDOW_S
        if self._received - self._seen < least and not self._excused:
            self._end(POLICY, "this message comes too slowly")
        else:
            self._watch()
