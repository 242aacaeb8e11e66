"""More requests than a worker can do at once, and requests that take too long.

Made only where one of the two is limited, so that a server without these limits pays for neither.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .connections import Connections
    from .limits import Limits

RETRY_AFTER = (b"retry-after", b"1")
"""In seconds: the queue in front of the app is far shorter than that."""


class Applicant(Protocol):
    """A request that wants to come to the app: see Exchange."""

    task: asyncio.Task[None] | None
    disconnected: bool

    def run(self) -> Coroutine[Any, Any, None]: ...
    def decline(self) -> None: ...
    def abandon(self) -> None: ...
    def out_of_time(self) -> None: ...


class Overload:
    """Lets so many requests at a time to the app, a few more wait for their turn, and turns the rest away."""

    __slots__ = ("_connections", "_limit", "_loop", "_queue", "_room", "_timeout_s", "_timers", "active")

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits, connections: Connections) -> None:
        self._loop = loop
        self._connections = connections
        self._limit = limits.concurrency or 1 << 62
        self._room = 1 << 62 if limits.queue is None else limits.queue
        self._timeout_s = limits.request_timeout_s
        self._timers: dict[Applicant, asyncio.TimerHandle] = {}
        self._queue: deque[Applicant | asyncio.Future[None]] = deque()
        self.active = 0

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def accepted(self) -> None:
        """A connection was accepted."""

    # Requests of the fast lane

    def begin(self, exchange: Applicant) -> None:
        """Start the app on the request, now or when there is room, or answer 503."""
        if self.active >= self._limit and not self._has_queue_room():
            # Not at once: of many pipelined requests each would be read inside the one before.
            self._loop.call_soon(exchange.decline)
            return
        self._admit(exchange)
        if self.active < self._limit:
            self._start(exchange)
        else:
            self._queue.append(exchange)

    def ended(self, exchange: Applicant) -> None:
        """The app is done with the request."""
        self._stop_clock(exchange)
        self.release()

    def _admit(self, exchange: Applicant) -> None:
        """Count the request in, and let its time run."""
        self._connections.running += 1
        if self._timeout_s is not None:
            self._timers[exchange] = self._loop.call_later(self._timeout_s, self._expire, exchange)

    def _start(self, exchange: Applicant) -> None:
        self.active += 1
        exchange.task = self._loop.create_task(exchange.run())

    def _expire(self, exchange: Applicant) -> None:
        self._timers.pop(exchange, None)
        exchange.out_of_time()
        if exchange.task is None and self._leave(exchange):
            exchange.abandon()

    def _leave(self, exchange: Applicant) -> bool:
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
        turn = self._loop.create_future()
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
            if isinstance(waiting, asyncio.Future):
                if not waiting.done():
                    self.active += 1
                    waiting.set_result(None)
            elif not waiting.disconnected:
                self._start(waiting)
            else:
                self._forget(waiting)

    def _forget(self, exchange: Applicant) -> None:
        self._stop_clock(exchange)
        exchange.abandon()

    def _drop(self, exchange: Applicant) -> None:
        """Turn a request away that was let in to wait."""
        self._stop_clock(exchange)
        exchange.decline()
        self._connections.app_ended()

    def _stop_clock(self, exchange: Applicant) -> None:
        if self._timers and (timer := self._timers.pop(exchange, None)) is not None:
            timer.cancel()

    def _has_queue_room(self) -> bool:
        if len(self._queue) >= self._room:
            self._drop_the_gone()
        return len(self._queue) < self._room

    def _drop_the_gone(self) -> None:
        """Forget who left while waiting."""
        stayed: deque[Applicant | asyncio.Future[None]] = deque()
        gone: list[Applicant] = []
        for waiting in self._queue:
            if not isinstance(waiting, asyncio.Future) and waiting.disconnected:
                gone.append(waiting)
            else:
                stayed.append(waiting)
        self._queue = stayed
        for exchange in gone:
            self._forget(exchange)
