"""The progress of one reload, and who waits for its outcome."""

from __future__ import annotations

from collections.abc import Callable

from ...core.record import field, mutable
from ...status.records import Reloaded
from .lifecycle import RELOAD_EDGES, ReloadState, advance

#: New workers of a refused reload get this long to end by themselves.
REVERT_S = 5.0


Waiter = Callable[[Reloaded | None], None]


@mutable
class Reload:
    """At most one reload is under way; requests that come meanwhile collapse into one more after it.

    So a hundred SIGHUPs cost two reloads, the code that was on disk at the last of them is what serves in the
    end, and a stream of requests cannot keep the first from ever finishing.
    """

    state: ReloadState = ReloadState.IDLE
    generation: int = 0
    how: str = ""
    started_at: float = 0.0
    deadline: float = 0.0
    #: The latest time that whoever asked will wait for; deadlines are never later.
    limit: float = 0.0
    #: Workers that were too slow have been asked for their stacks.
    last_call: bool = False
    failure: Reloaded | None = None
    waiters: list[Waiter] = field(default_factory=list)
    queued: bool = False
    queued_timeout_s: float | None = None
    queued_waiters: list[Waiter] = field(default_factory=list)

    def on(self, event: str) -> None:
        """Take an edge of the reload's state machine. Raises IllegalTransition."""
        self.state = advance(RELOAD_EDGES, self.state, event)

    @property
    def idle(self) -> bool:
        return self.state is ReloadState.IDLE

    def enqueue(self, waiter: Waiter | None, timeout_s: float | None) -> None:
        """Note a request; `Supervisor` begins it when the present reload, if any, is over."""
        self.queued = True
        self.queued_timeout_s = timeout_s
        if waiter is not None:
            self.queued_waiters.append(waiter)

    def begin(self, generation: int, how: str, now: float, deadline: float, limit: float) -> None:
        """Make the queued request the one under way."""
        self.on("request")
        self.generation, self.how, self.started_at, self.deadline = generation, how, now, deadline
        self.limit = limit
        self.last_call = False
        self.failure = None
        self.waiters, self.queued_waiters = self.queued_waiters, []
        self.queued = False

    def take_waiters(self) -> list[Waiter]:
        """Return everyone who waits for the one that was under way, to be told how it ended."""
        waiters, self.waiters = self.waiters, []
        return waiters

    def abandon(self) -> list[Waiter]:
        """The server is ending, nobody's reload will happen: return everyone who waits for one."""
        self.queued = False
        self.waiters += self.queued_waiters
        self.queued_waiters = []
        return self.take_waiters()
