"""Between a change of the code and the worker that has it: who asks waits, and is not answered by the old code."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .accept.acceptor import Acceptor
    from .lane.connections import Connections

#: A program that takes longer to load is answered for by the old one again.
_AT_MOST_S = 30.0


class Outdated:
    """With --dev. New connections wait in the listener's queue, which the next worker has as well; those that are idle
    are closed, so that their next request makes a new one."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connections: Connections) -> None:
        self._loop = loop
        self._connections = connections
        self._end: asyncio.TimerHandle | None = None
        self._acceptor: Acceptor | None = None
        self._outdated = False

    def accepts(self, acceptor: Acceptor) -> None:
        """This worker has begun to accept."""
        self._acceptor = acceptor
        if self._outdated:
            self.begin()

    def begin(self) -> None:
        """The code on the disk is newer than ours."""
        self._outdated = True
        if self._acceptor is None or self._connections.draining:
            return
        if self._end is not None:
            self._end.cancel()
        else:
            self._acceptor.stop()
            self._connections.farewell = True
            self._connections.close_longest_idle(len(self._connections.open))
        self._end = self._loop.call_later(_AT_MOST_S, self.over)

    def over(self) -> None:
        """Nothing newer came of it: serve on."""
        self._outdated = False
        if self._end is not None:
            self._end.cancel()
            self._end = None
            if self._acceptor is not None and not self._connections.draining:
                self._connections.farewell = False
                self._acceptor.start()
