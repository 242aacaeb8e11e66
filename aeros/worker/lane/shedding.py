"""Overload of the event loop itself: requests begin when it has time for them, the newest first, or not at all.

A limit on concurrency cannot do this. What a handler computes is done by one loop, so a second request begun while it
computes only makes the first one later; yet while handlers wait for others, many may run. So a request begins when the
loop has nothing left to do for those that have begun. In overload the queue in front of that never empties, and whoever
is served in order of arrival has waited for as long as the queue is; the newest has not. The others wait for a lull
until their time is over.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from time import perf_counter
from typing import TYPE_CHECKING

from .overload import Applicant, Overload

if TYPE_CHECKING:
    from .connections import Connections
    from .limits import Limits

IDLE_TURN_S = 0.0001
"""A turn of the loop that took no longer had nothing else to do: one that is empty takes 10 to 20 us."""

READ_S = 0.00006
"""What a turn may take longer for each request that was read in it."""

CONNECTING_TURNS = 6
"""What a connection takes from being accepted to its first request being read: nobody is begun meanwhile."""

TURNS_MAX = 16
"""After so many busy turns one request begins all the same: perhaps it is not requests that keep the loop busy."""


class Shedding(Overload):
    """Lets requests to the app as the loop has time for them."""

    __slots__ = ("_accepted", "_expiry", "_patience_s", "_read", "_turned", "_turning", "_turns", "_waiting")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, limits: Limits, connections: Connections, patience_s: float
    ) -> None:
        """patience_s: how long a request may wait before it gets 503."""
        super().__init__(loop, limits, connections)
        self._patience_s = patience_s
        self._waiting: OrderedDict[Applicant | asyncio.Future[bool], float] = OrderedDict()  # since when
        self._expiry: asyncio.TimerHandle | None = None
        self._accepted = False  # connections, since a request was last begun
        self._turning = False
        self._turned = 0.0
        self._turns = 0
        self._read = 0  # requests since the last turn

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def accepted(self) -> None:
        """A connection was: its request will be newer than all that wait."""
        self._accepted = True

    def begin(self, exchange: Applicant) -> None:
        self._admit(exchange)
        self._join(exchange)

    async def enter(self) -> bool:
        turn: asyncio.Future[bool] = self._loop.create_future()
        self._join(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result():
                self.release()
            raise

    def release(self) -> None:
        self.active -= 1
        if self._waiting and not self._turning:
            self._turn_soon()

    def _join(self, waiting: Applicant | asyncio.Future[bool]) -> None:
        nobody_waited = not self._waiting
        self._waiting[waiting] = perf_counter()
        self._read += 1
        if not self._turning:
            self._turn_soon()
            if nobody_waited:
                # There is no overload, so no turn is spent on finding out.
                self._turns = TURNS_MAX
        if self._expiry is None:
            self._expiry = self._loop.call_later(self._patience_s, self._expire_waiting)

    def _turn_soon(self) -> None:
        self._turning = True
        self._turns = 0
        self._turned = perf_counter()
        self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Once in each turn of the loop, behind all that it has read, for as long as requests wait."""
        now = perf_counter()
        room = self.active < self._limit
        # Counted first: those that are turned away may have sent their next request already.
        for _ in range(len(self._waiting) - self._room - room):
            self._shed_oldest()
        self._turns += 1
        idle = now - self._turned < IDLE_TURN_S + self._read * READ_S
        # With nothing begun the loop is busy with something else. But the turn in which the last one ended is let pass:
        # what came in meanwhile is newer than all that wait, and has not been read yet.
        connecting = self._accepted and self._turns < CONNECTING_TURNS
        free = (not connecting and (idle or (not self.active and self._turns > 1))) or self._turns > TURNS_MAX
        if room and free:
            self._turns = 0
            self._accepted = False
            while self._waiting and not self._begins(self._waiting.popitem()[0]):
                pass
        self._read = 0
        self._turned = now
        self._turning = bool(self._waiting) and self.active < self._limit
        if self._turning:
            self._loop.call_soon(self._turn)

    def _begins(self, waiting: Applicant | asyncio.Future[bool]) -> bool:
        if isinstance(waiting, asyncio.Future):
            if waiting.done():
                return False
            self.active += 1
            waiting.set_result(True)
            return True
        if waiting.disconnected:
            self._forget(waiting)
            return False
        self._start(waiting)
        return True

    def _shed_oldest(self) -> None:
        waiting = self._waiting.popitem(last=False)[0]
        if isinstance(waiting, asyncio.Future):
            if not waiting.done():
                waiting.set_result(False)
        elif waiting.disconnected:
            self._forget(waiting)
        else:
            self._drop(waiting)

    def _expire_waiting(self) -> None:
        now = perf_counter()
        self._expiry = None
        # A next request that was sent ahead joins behind those that wait, so this ends.
        while self._waiting:
            left = next(iter(self._waiting.values())) + self._patience_s - now
            if left > 0:
                self._expiry = self._expiry or self._loop.call_later(left, self._expire_waiting)
                break
            self._shed_oldest()

    def _leave(self, exchange: Applicant) -> bool:
        return self._waiting.pop(exchange, None) is not None
