"""More requests than a worker can do at once, and requests that take too long.

Made only where one of the two is limited, so that a server without these limits pays for neither.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING

from .exchange import CLOSED, Exchange

if TYPE_CHECKING:
    from .lane import Lane

RETRY_AFTER = (b"retry-after", b"1")
"""In seconds: the queue in front of the app is far shorter than that."""


class Overload:
    """Lets so many requests at a time to the app, a few more wait for their turn, and turns the rest away."""

    __slots__ = ("_lane", "_limit", "_queue", "_room", "_timeout_s", "_timers", "active")

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        limits = lane.limits
        self._limit = limits.concurrency or 1 << 62
        self._room = 1 << 62 if limits.queue is None else limits.queue
        self._timeout_s = limits.request_timeout_s
        self._timers: dict[Exchange, asyncio.TimerHandle] = {}
        self._queue: deque[Exchange | asyncio.Future[None]] = deque()
        self.active = 0

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def accepted(self) -> None:
        """A connection was accepted."""

    # Requests of the fast lane

    def begin(self, exchange: Exchange) -> None:
        """Start the app on the request, now or when there is room, or answer 503."""
        if self.active >= self._limit and not self._has_queue_room():
            # Not at once: of many pipelined requests each would be read inside the one before.
            self._lane.loop.call_soon(self._turn_away, exchange)
            return
        self._admit(exchange)
        if self.active < self._limit:
            self._start(exchange)
        else:
            self._queue.append(exchange)

    def ended(self, exchange: Exchange) -> None:
        """The app is done with the request."""
        self._stop_clock(exchange)
        self.release()

    def _admit(self, exchange: Exchange) -> None:
        """Count the request in, and let its time run."""
        lane = self._lane
        lane.running += 1
        if self._timeout_s is not None:
            self._timers[exchange] = lane.loop.call_later(self._timeout_s, self._expire, exchange)

    def _start(self, exchange: Exchange) -> None:
        self.active += 1
        exchange.task = self._lane.loop.create_task(exchange.run())

    def _turn_away(self, exchange: Exchange) -> None:
        carrier = exchange.carrier
        lane = self._lane
        headers = [(b"content-length", b"0"), RETRY_AFTER]
        exchange.start_response(503, headers)
        exchange.send_body(b"", False)
        exchange.state = CLOSED
        seconds = perf_counter() - exchange.started
        lane.counters.request_finished(503, exchange.bytes_in, exchange.bytes_out, seconds)
        if lane.table is not None:
            lane.table.end(exchange)
        if lane.access is not None:
            carrier.log_later(lane.access(exchange.scope, {"status": 503, "headers": headers}, seconds))
        carrier.response_done(exchange)

    def _expire(self, exchange: Exchange) -> None:
        self._timers.pop(exchange, None)
        exchange.carrier.expire(exchange)
        if exchange.task is None and self._leave(exchange):
            exchange.abandon()

    def _leave(self, exchange: Exchange) -> bool:
        """Take a request out of the queue; whether it was there."""
        if exchange not in self._queue:
            return False
        self._queue.remove(exchange)
        return True

    # Requests in Hypercorn's hands

    async def enter(self) -> bool:
        """Return when there is room for a request (True; `release` gives it back), or at once where there is none."""
        if self.active < self._limit:
            self.active += 1
            return True
        if not self._has_queue_room():
            return False
        turn = self._lane.loop.create_future()
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()
            raise
        return True

    def release(self) -> None:
        """One request less; the next one's turn."""
        self.active -= 1
        queue = self._queue
        while queue and self.active < self._limit:
            waiting = queue.popleft()
            if not isinstance(waiting, Exchange):
                if not waiting.done():
                    self.active += 1
                    waiting.set_result(None)
            elif not waiting.disconnected:
                self._start(waiting)
            else:
                self._forget(waiting)

    def _forget(self, exchange: Exchange) -> None:
        self._stop_clock(exchange)
        exchange.abandon()

    def _drop(self, exchange: Exchange) -> None:
        """Turn a request away that was let in to wait."""
        lane = self._lane
        self._stop_clock(exchange)
        self._turn_away(exchange)
        lane.running -= 1
        if lane.draining:
            lane.look_if_drained()

    def _stop_clock(self, exchange: Exchange) -> None:
        if self._timers and (timer := self._timers.pop(exchange, None)) is not None:
            timer.cancel()

    def _has_queue_room(self) -> bool:
        if len(self._queue) >= self._room:
            self._drop_the_gone()
        return len(self._queue) < self._room

    def _drop_the_gone(self) -> None:
        """Forget who left while waiting."""
        stayed: deque[Exchange | asyncio.Future[None]] = deque()
        gone: list[Exchange] = []
        for waiting in self._queue:
            if isinstance(waiting, Exchange) and waiting.disconnected:
                gone.append(waiting)
            else:
                stayed.append(waiting)
        self._queue = stayed
        for exchange in gone:
            self._forget(exchange)
