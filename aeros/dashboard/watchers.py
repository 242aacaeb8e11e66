"""Who follows /events, and what becomes of those that do not read."""

from __future__ import annotations

import asyncio
from collections import Counter

#: Streams at a time, each of which costs a message a second; and those of them that go to one address.
MOST, MOST_OF_ONE = 64, 16
#: An event that has not gone out after this, when another is due already, is the last.
_LATE_S = 2.0
#: With all places taken, one that has been had for so long makes way: the page comes back by itself.
_KEPT_S = 5.0


class Watcher:
    """One stream. It has its place until the task that serves its request has ended, however that ends."""

    def __init__(self, peer: str, task: asyncio.Task[object]) -> None:
        self.peer = peer
        self.task = task
        self._loop = task.get_loop()
        self.since = self._loop.time()
        self._late: asyncio.TimerHandle | None = None

    def sending(self, event: bytes) -> bytes:
        """Return the event, which is about to be given away."""
        self.sent()
        self._late = self._loop.call_later(_LATE_S, self.task.cancel)
        return event

    def sent(self) -> None:
        """It has gone out, or nothing will any more."""
        if self._late is not None:
            self._late.cancel()


class Watchers:
    """The places. What a reader's own kernel holds for it looks like read from here; so places are not kept for ever
    when others want them."""

    def __init__(self) -> None:
        self._watchers: list[Watcher] = []  # the oldest first

    def admit(self, peer: str) -> Watcher | None:
        """Return a place for the request that the running task serves, or None while there is none."""
        if not self._has_room(peer):
            return None
        task = asyncio.current_task()
        assert task is not None
        watcher = Watcher(peer, task)
        self._watchers.append(watcher)
        task.add_done_callback(lambda _: self._forget(watcher))
        return watcher

    def _has_room(self, peer: str) -> bool:
        count = Counter(watcher.peer for watcher in self._watchers)
        if count[peer] >= MOST_OF_ONE:
            crowd = peer
        elif len(self._watchers) >= MOST:
            crowd = count.most_common(1)[0][0]
        else:
            return True
        oldest = next(watcher for watcher in self._watchers if watcher.peer == crowd)
        if asyncio.get_running_loop().time() < oldest.since + _KEPT_S:
            return False
        self._forget(oldest)
        oldest.task.cancel()
        return True

    def _forget(self, watcher: Watcher) -> None:
        watcher.sent()
        if watcher in self._watchers:
            self._watchers.remove(watcher)
