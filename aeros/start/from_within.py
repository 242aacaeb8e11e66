"""What `app.server` is in a worker: the same questions, answered from shared memory; commands by the control socket."""

from __future__ import annotations

from typing import Any

from ..errors import StateError
from ..server import Server, connect
from ..status.reader import StatusReader
from ..status.records import ServerStatus
from ..status.requests import RequestInFlight
from ..worker.context import WorkerContext


def server_of_worker(worker: WorkerContext) -> Server:
    """Return the handle of the server this worker belongs to: status from memory, commands by the control socket."""
    return _ServerFromWithin(worker)  # type: ignore[return-value]


class _ServerFromWithin:
    def __init__(self, worker: WorkerContext) -> None:
        self._scoreboard = worker.scoreboard
        self._reader = StatusReader(worker.scoreboard)

    @property
    def pid(self) -> int:
        return int(self._scoreboard.read_summary()["pid"])

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(self._scoreboard.read_summary().get("addresses", ()))

    @property
    def running(self) -> bool:
        return True

    def status(self) -> ServerStatus:
        return self._reader.read()

    def requests(self) -> tuple[RequestInFlight, ...]:
        return self._reader.requests()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        path = self._scoreboard.read_summary().get("control", "")
        if not path:
            raise StateError(f"server.{name} needs the control socket, and this server has none (--control off?)")
        return getattr(connect(path), name)
