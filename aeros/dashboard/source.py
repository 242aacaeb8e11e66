"""Where the dashboard's figures come from: shared memory, and the supervisor for what only it can do."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from ..core.text import several_lines
from ..server import Server
from ..status.records import ServerStatus

#: For the supervisor to answer; a stack may take a while.
ANSWER_TIMEOUT_S = 30.0
#: A reading is shared by everyone who asks within this time, so that many watchers cost no more than one.
_SHARED_FOR_S = 0.2


class Source:
    """Status and commands, without ever blocking the loop."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._parent = os.getppid()
        self._read_at = 0.0
        self._status: ServerStatus | None = None
        #: Another dashboard has taken over; what is under way is finished.
        self.retiring = False

    @property
    def supervised(self) -> bool:
        """Whether the supervisor that started this process still lives."""
        return os.getppid() == self._parent

    async def status(self) -> ServerStatus:
        """Return the status, at most a fifth of a second old."""
        now = time.monotonic()
        if self._status is None or now - self._read_at >= _SHARED_FOR_S:
            # Not in a thread: it reads memory, and a reader is not thread-safe.
            self._status = self._server.status()
            self._read_at = now
        return self._status

    @property
    def latest(self) -> ServerStatus | None:
        """Return the last reading, whatever its age."""
        return self._status

    async def settled(self) -> None:
        """Return when the supervisor is the server: at once, unless it is to succeed another."""
        await asyncio.to_thread(self._server._wait_settled)

    async def ping(self) -> None:
        """Raises ControlError when the supervisor does not answer."""
        await asyncio.to_thread(self._server.ping)

    async def routes(self) -> dict[str, Any]:
        """Return what the workers have done for each route since the server began, and the latest exceptions."""
        return await asyncio.to_thread(self._server._ask, "routes", {}, ANSWER_TIMEOUT_S)

    async def log(self, after: int | None, most: int) -> dict[str, Any]:
        """Return the events after number `after`, of all the last `most`."""
        arguments = {"after": after, "most": most, "wait": False}
        return await asyncio.to_thread(self._server._ask, "logs", arguments, ANSWER_TIMEOUT_S)

    async def stack(self, slot: int) -> str:
        """Return where the worker of `slot` is. Raises OptionsError, StateError."""
        return several_lines(str(await asyncio.to_thread(self._server.stack, slot)))

    async def reload(self) -> dict[str, Any]:
        """Raises ReloadFailed."""
        done = await asyncio.to_thread(self._server.reload)
        return {"generation": done.generation, "seconds": done.seconds}

    async def scale(self, workers: int) -> dict[str, Any]:
        """Raises OptionsError."""
        await asyncio.to_thread(self._server.scale, workers)
        return {"workers": workers}

    async def restart(self, slot: int | None) -> dict[str, Any]:
        """Raises OptionsError."""
        return {"slots": await asyncio.to_thread(self._server.restart, slot)}
