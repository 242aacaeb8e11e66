"""Whose turn it is to accept: connections spread evenly over workers that share one listener.

The kernel wakes every worker for a connection and the quickest takes it, which after a burst leaves most of them on
one. Here each takes its share of those that wait, at once: what everybody will hold when all of them are accepted. One
that holds its share already, and more than the least loaded one, steps back for a moment. It never waits for long, and
not for a worker that is stuck or too busy to take its turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ...core.shared.scoreboard import CONNECTIONS, CONNECTIONS_TOTAL, HEARTBEAT, PENDING, Scoreboard

#: How long a connection may wait for a less loaded worker to take it.
PATIENCE_S = 0.02
#: A worker that did not take its turn in that time is not waited for until it takes a connection, or this is over.
DISTRUST_S = 0.25
#: A worker without a heartbeat for this long is stuck: nobody waits for it.
STUCK_S = 1.5
#: From this mean number of connections per worker on, one more than the least loaded is still fair.
SLACK_PER = 20


class Turn:
    """Asked before each accept. `mine` is the cell of the worker that asks."""

    def __init__(self, scoreboard: Scoreboard, mine: int) -> None:
        self._scoreboard = scoreboard
        self._mine = mine
        self._words = scoreboard.cell(mine).words
        self._version = -1
        self._peers: dict[int, memoryview] = {}
        self._waiting_since = 0.0
        self._last_asked = 0.0
        self._distrusted: dict[int, tuple[float, int]] = {}

    def allowance(self, queue: Callable[[], int]) -> int:
        """Return how many connections to accept now; if none, ask again in a millisecond.

        queue: how many wait, not fewer than one.
        """
        scoreboard = self._scoreboard
        if scoreboard.roster_version != self._version:
            self._learn_peers()
        peers = self._peers
        if not peers:
            return queue()
        words = self._words
        now = time.monotonic()
        load = words[CONNECTIONS] + words[PENDING]
        others, sharers, least, least_cell = self._look_around(now)
        # Not before that: a connection that a peer takes meanwhile is counted once too few, never twice.
        waiting = queue()
        # Up to what everybody has once all that wait are accepted, a worker needs to wait for nobody.
        share = (load + others + waiting) // (sharers + 1) - load
        if share > 0 or load == 0 or load - least <= least // SLACK_PER:
            self._waiting_since = 0.0
            return max(1, min(share, waiting))
        if not self._waiting_since or now - self._last_asked > 0.01:
            self._waiting_since = now  # another connection than the one waited for before
        self._last_asked = now
        if now - self._waiting_since < PATIENCE_S:
            return 0
        self._distrusted[least_cell] = (now + DISTRUST_S, peers[least_cell][CONNECTIONS_TOTAL])
        return 1

    def _learn_peers(self) -> None:
        scoreboard = self._scoreboard
        self._version = scoreboard.roster_version
        cells = scoreboard.read_roster()
        # One that is not on the roster yet, or no longer, has nobody to be fair to.
        others = [cell for cell in cells if cell != self._mine] if self._mine in cells else []
        self._peers = {cell: scoreboard.cell(cell).words for cell in others}
        self._distrusted.clear()

    def _look_around(self, now: float) -> tuple[int, int, int, int]:
        """Return of the peers that can take connections: how many they hold, how many they are, the least that one of
        them holds, and which that is.
        """
        oldest_beat = int((now - STUCK_S) * 1e9)
        held, sharers, least, whose = 0, 0, 1 << 62, -1
        for cell, words in self._peers.items():
            if words[HEARTBEAT] > oldest_beat and not self._is_distrusted(cell, words, now):
                load = words[CONNECTIONS] + words[PENDING]
                held += load
                sharers += 1
                if load < least:
                    least, whose = load, cell
        return held, sharers, least, whose

    def _is_distrusted(self, cell: int, words: memoryview, now: float) -> bool:
        found = self._distrusted.get(cell)
        if found is None:
            return False
        until, accepted = found
        if now < until and words[CONNECTIONS_TOTAL] == accepted:
            return True
        del self._distrusted[cell]
        return False
