"""The app as the family runs it: what a worker does, and when the app's hooks are called."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from ..core.ipc.messages import ReloadOutcome
from ..core.ipc.seed import WorkerSeed
from ..core.log.lines import LineLog
from ..core.log.queues import restart_listeners, started_listeners
from ..core.memory.collector import paused
from ..core.memory.lazy_imports import resolve_lazy_imports
from ..core.memory.sharing import merge_memory
from ..core.net.listener import Listener
from ..core.shared.scoreboard import Scoreboard
from ..hooks import Hooks, WorkerInfo
from ..options import Options
from ..status.records import Reloaded

if TYPE_CHECKING:
    from hypercorn.config import Config


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
        self._config: Config | None = None
        self._log_listeners: list[Any] = []
        hooks = getattr(app, "hooks", None)
        self._hooks = hooks if isinstance(hooks, Hooks) else Hooks()

    def preload(self) -> None:
        """Import what every worker needs, where it is still shared. Of the app's code this runs only what its lazy
        imports bring (PEP 810)."""
        if self._options.memory_merge and (obstacle := merge_memory()) is not None:
            self._log.warning(f"--memory-merge: {obstacle}")
        with paused():
            for failure in resolve_lazy_imports():
                self._log.debug(f"a lazy import of the program fails: {failure}")
            from ..quart import direct
            from ..worker.preload import preload

            direct.preload()
            preload(self._options)
            self._config = self._options.hypercorn_config()
        self._log_listeners = started_listeners()

    def warm_up(self) -> None:
        """Send the app the requests of `warmup`."""
        if self._options.warmup:
            from .warmup import warm_up

            warm_up(self._app, self._options, self._scoreboard, self._log)

    def run_worker(self, seed: WorkerSeed) -> NoReturn:
        """Be a worker until it is told to end, then end the process."""
        from ..quart.direct import direct_path, obstacle
        from ..quart.exceptions import watch_exceptions
        from ..worker.hosted import HostedApp
        from ..worker.main import run_worker

        restart_listeners(self._log_listeners)
        about = WorkerInfo(seed.slot, seed.generation, os.getpid())
        hosted = HostedApp(
            app=self._app,
            direct=direct_path,
            obstacle=obstacle(self._app),
            after_fork=lambda: self._hooks.run("after_fork", about),
            on_ready=lambda: self._hooks.run_async("worker_ready", about),
            on_reload=partial(self._told_of_reload, alone=seed.alone),
            watch_exceptions=partial(watch_exceptions, self._app),
            startup_failure=getattr(self._app, "startup_failure", lambda: None),
        )
        run_worker(
            seed,
            hosted,
            self._options,
            self._config if self._config is not None else self._options.hypercorn_config(),
            self._listeners,
            self._scoreboard,
            self._log,
        )

    def warn_of_hooks(self) -> list[str]:
        """Return a sentence about hooks that nobody calls where workers load the app themselves, if it has any."""
        lost = self._hooks.registered("before_fork", "worker_exit")
        if not lost:
            return []
        names = " and ".join(f"@app.{name}" for name in lost)
        return [f"each worker loads the app itself, so nobody calls {names}: there is no process to call it in"]

    def before_fork(self, slot: int, generation: int) -> None:
        self._hooks.run("before_fork", WorkerInfo(slot, generation))

    def after_exit(self, slot: int, generation: int, pid: int, how: str) -> None:
        self._hooks.run("worker_exit", WorkerInfo(slot, generation, pid, how))

    def _told_of_reload(self, outcome: ReloadOutcome, *, alone: bool) -> None:
        """In a worker. alone: there is no zygote that runs the hook."""
        told = getattr(self._app, "after_reload", None)  # of what serves the app in development
        if told is not None:
            told(outcome)
        if alone:
            self.after_reload(outcome)

    def after_reload(self, outcome: ReloadOutcome) -> None:
        record = Reloaded(outcome.ok, outcome.generation, "", outcome.seconds, 0.0, outcome.reason, outcome.traceback)
        self._hooks.run("on_reload", record)

    def close_listeners(self) -> None:
        """The server is stopping: let go of the sockets, so that the last worker to close them is the last."""
        for listener in self._listeners:
            listener.sock.close()
