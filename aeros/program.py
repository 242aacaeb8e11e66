"""The app as the family runs it: what a worker does, and when the app's hooks are called."""

from __future__ import annotations

import os
import sys
from typing import Any

from .compat import knows_quart
from .core.listener import Listener
from .core.logs import LineLog
from .core.messages import ReloadOutcome
from .core.scoreboard import Scoreboard
from .core.seed import WorkerSeed
from .hooks import Hooks, WorkerInfo
from .options import Options
from .status import Reloaded


class AppProgram:
    """Implements `supervisor.zygote.Program` for one app and its options."""

    def __init__(
        self, app: Any, options: Options, listeners: list[Listener], scoreboard: Scoreboard, log: LineLog
    ) -> None:
        self._app = app
        self._options = options
        self._listeners = listeners
        self._scoreboard = scoreboard
        self._log = log
        hooks = getattr(app, "hooks", None)
        self._hooks = hooks if isinstance(hooks, Hooks) else Hooks()

    def preload(self) -> None:
        """Import what every worker needs, where it is still shared: in the zygote."""
        import importlib

        importlib.import_module("aeros.worker.main")
        if "quart" in sys.modules and knows_quart():
            from .worker.http1_quart import rehearse

            rehearse(self._app)
        if self._options.worker_class == "uvloop":
            importlib.import_module("uvloop")

    def run_worker(self, seed: WorkerSeed) -> int:
        """Be a worker; return its exit code."""
        from .worker.main import run_worker

        about = WorkerInfo(seed.slot, seed.generation, os.getpid())
        return run_worker(
            seed,
            self._app,
            self._options,
            self._listeners,
            self._scoreboard,
            self._log,
            after_fork=lambda: self._hooks.run("after_fork", about),
            on_ready=lambda: self._hooks.run_async("worker_ready", about),
            startup_failure=getattr(self._app, "startup_failure", lambda: None),
        )

    def before_fork(self, slot: int, generation: int) -> None:
        self._hooks.run("before_fork", WorkerInfo(slot, generation))

    def after_exit(self, slot: int, generation: int, pid: int, how: str) -> None:
        self._hooks.run("worker_exit", WorkerInfo(slot, generation, pid, how))

    def after_reload(self, outcome: ReloadOutcome) -> None:
        record = Reloaded(outcome.ok, outcome.generation, "", outcome.seconds, 0.0, outcome.reason, outcome.traceback)
        self._hooks.run("on_reload", record)

    def close_listeners(self) -> None:
        """The server is stopping: let go of the sockets, so that the last worker to close them is the last."""
        for listener in self._listeners:
            listener.sock.close()
