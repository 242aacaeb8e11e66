"""How much a worker keeps of request bodies that handlers await, and who goes on when that is used up.

Each body alone is bounded by MAX_CONTENT_LENGTH. All together are bounded here: when the budget is used up, bodies that
are not complete are not read any further (flow control holds their clients) until handlers are done with others. A body
counts until its handler is done, since the request keeps it for that long.

Nobody waits for ever. When what waits holds the budget itself, the oldest goes on to its end, beyond the budget if need
be. Who waits for too long is answered with 503.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice
from typing import Protocol

FREE = 1 << 14
"""A body of so few bytes neither counts nor waits: it costs no more than the request around it."""

STEP = 1 << 21
"""What a body may take before it can be held again: by so much its room grows (see landing)."""

WAIT_S = 30.0
"""How long a body waits. Quart gives a handler 60 s for all of its body (BODY_TIMEOUT), so the 503 comes first."""

LOOK_S = 1.0

CONNECTION_SHARE = 4
"""One connection of HTTP/2 gets at most this part of the budget: a quarter."""


class Holder(Protocol):
    """A request whose handler awaits its body. weight: bytes that count, 0 for one the budget knows nothing of."""

    weight: int

    def go_on(self) -> None:
        """Have its body read on."""

    def turn_away(self) -> None:
        """Answer it with 503, if that is still possible. May be called more than once."""


class BodyBudget:
    """What one worker, or one connection within it, may keep."""

    __slots__ = (
        "_complete",
        "_done",
        "_growing",
        "_limit",
        "_loop",
        "_parent",
        "_timer",
        "_turned_away",
        "_waiting",
        "held",
    )

    def __init__(
        self,
        limit: int,
        loop: asyncio.AbstractEventLoop,
        turned_away: Callable[[], None],
        parent: BodyBudget | None = None,
    ) -> None:
        """limit: bytes. turned_away: called for each that gets a 503."""
        self._limit = limit
        self._loop = loop
        self._turned_away = turned_away
        self._parent = parent
        self.held = 0
        self._growing: dict[Holder, None] = {}  # by age
        self._complete: set[Holder] = set()  # all of the body has come, the handler is at work
        self._done = 0  # bytes of these
        self._waiting: dict[Holder, float] = {}  # and until when
        self._timer: asyncio.TimerHandle | None = None

    def share(self) -> BodyBudget:
        """Return the budget of one connection."""
        return BodyBudget(self._limit // CONNECTION_SHARE, self._loop, self._turned_away, self)

    def keep(self, holder: Holder, size: int) -> None:
        """So many bytes of its body are kept by now."""
        if size <= FREE and not holder.weight:
            return
        more, last = size - holder.weight, self
        holder.weight = size
        level: BodyBudget | None = self
        while level is not None:
            level.held += more
            if holder not in level._complete:
                level._growing[holder] = None
            last, level = level, level._parent
        # What came before it could be held, from many clients at once, may go so far beyond, and no further.
        if last.held > last._limit + last._limit // 4 and holder is not last._first():
            self._loop.call_soon(last._refuse, holder)

    def complete(self, holder: Holder) -> None:
        """All of its body has come."""
        if holder.weight:
            level: BodyBudget | None = self
            while level is not None:
                level._waiting.pop(holder, None)
                level._growing.pop(holder, None)
                if holder not in level._complete:
                    level._complete.add(holder)
                    level._done += holder.weight
                level._pass_on()
                level = level._parent

    def forget(self, holder: Holder) -> None:
        """Its handler is done."""
        weight, holder.weight = holder.weight, 0
        level: BodyBudget | None = self if weight else None
        while level is not None:
            level.held -= weight
            level._waiting.pop(holder, None)
            level._growing.pop(holder, None)
            if holder in level._complete:
                level._complete.discard(holder)
                level._done -= weight
            level._pass_on()
            level = level._parent

    def admits(self, holder: Holder) -> bool:
        """Tell whether more of its body may be read. If not, `go_on` is called when it may."""
        if holder.weight <= FREE:
            return True
        level: BodyBudget | None = self
        while level is not None:
            if level.held >= level._limit and holder is not level._first():
                level._waiting.setdefault(holder, self._loop.time() + WAIT_S)
                level._watch()
                return False
            level._waiting.pop(holder, None)
            level = level._parent
        return True

    def _first(self) -> Holder | None:
        """Return who goes on although the budget is used up: the oldest, unless handlers at work hold half of it.

        These end and make room. What waits does not.
        """
        return next(iter(self._growing), None) if 2 * self._done < self._limit else None

    def _pass_on(self) -> None:
        """Let as many go on as there is room for."""
        waiting = self._waiting
        if not waiting:
            return
        room = self._limit - self.held
        going = list(islice(waiting, -(-room // STEP))) if room > 0 else []
        first = self._first()
        if first in waiting and first not in going:
            going.append(first)
        for holder in going:
            if waiting.pop(holder, None) is not None:
                holder.go_on()

    def _watch(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(LOOK_S, self._look)

    def _look(self) -> None:
        self._timer = None
        self._pass_on()
        now = self._loop.time()
        for holder, until in list(self._waiting.items()):
            if until <= now:
                self._refuse(holder)
        if self._waiting:
            self._watch()

    def _refuse(self, holder: Holder) -> None:
        self._waiting.pop(holder, None)
        if holder.weight:
            self._turned_away()
            holder.turn_away()
