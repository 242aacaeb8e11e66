"""WebServer: a Quart app that can serve itself."""

from __future__ import annotations

import inspect
import os
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from quart import Quart

from .core.net.client_gone import is_of_gone
from .errors import StateError
from .hooks import Hooks
from .quart.awaiting import AwaitingJSONProvider, not_awaited
from .quart.lean import LeanQuart
from .server import Server
from .start import check, start
from .start.from_within import server_of_worker
from .worker import context
from .worker.context import WorkerContext, current_worker

if TYPE_CHECKING:
    from hypercorn.config import Config

F = TypeVar("F", bound=Callable[..., Any])


class WebServer(LeanQuart, Quart):
    """A Quart app with a production server behind its `start`.

    Everything of Quart works unchanged. host and port are the default address; any option of the reference may
    be given by name as well, and is a default that the environment and the arguments of `start` override.
    """

    json_provider_class = AwaitingJSONProvider

    def __init__(
        self,
        import_name: str,
        host: str = "127.0.0.1",
        port: int = 8000,
        *,
        static_url_path: str | None = None,
        static_folder: str | None = "static",
        static_host: str | None = None,
        host_matching: bool = False,
        subdomain_matching: bool = False,
        template_folder: str | os.PathLike[str] | None = "templates",
        instance_path: str | None = None,
        instance_relative_config: bool = False,
        root_path: str | None = None,
        **options: object,
    ) -> None:
        """Raises OptionsError for an option that does not exist or a value that cannot be used."""
        super().__init__(
            import_name,
            static_url_path,
            static_folder,
            static_host,
            host_matching,
            subdomain_matching,
            template_folder,
            instance_path,
            instance_relative_config,
            root_path,
        )
        # Not said is not given: sockets of systemd's, or a bind among the options, come before the default.
        said = (host, port) != ("127.0.0.1", 8000)
        address: dict[str, object] = {"host": host, "port": port} if said else {}
        self.serving_defaults: dict[str, object] = {**address, **options}
        if options or said:
            check(self.serving_defaults)
        self.hooks = Hooks()
        self._handle: Server | None = None
        self._starting_up = False
        self._startup_failure: tuple[str, str, bool] | None = None

    # --- serving ---------------------------------------------------------------------------------------------

    @overload
    def start(
        self,
        arguments: str | Sequence[str] | None = None,
        *,
        block: Literal[True] = True,
        config: Config | str | None = None,
        **options: object,
    ) -> int: ...

    @overload
    def start(
        self,
        arguments: str | Sequence[str] | None = None,
        *,
        block: Literal[False],
        config: Config | str | None = None,
        **options: object,
    ) -> Server: ...

    def start(
        self,
        arguments: str | Sequence[str] | None = None,
        *,
        block: bool = True,
        config: Config | str | None = None,
        **options: object,
    ) -> int | Server:
        """Serve this app: `app.start("-w 2")`, `app.start(["-w", "2"])`, `app.start(workers=2)`, or a mix.

        Every argument of Hypercorn's command line works, and those of Aeros (see the reference).

        block=True: this process becomes the supervisor. Returns 0 after a clean stop; ends the program
        with the documented exit code and one clear line when the server could not be started or kept up, and
        inside a running event loop, which it would hold up.
        block=False: the server runs beside this program, from any thread, also inside a running event
        loop; returns its handle when all workers are ready. No signal handler is touched. Raises
        OptionsError, BindError, AppLoadError.
        """
        if self._handle is not None and self._handle.running:
            raise StateError(f"this app is being served already, by pid {self._handle.pid}; stop that server first")
        result = start(self, arguments, options, config=config, constructor=self.serving_defaults, block=block)
        if isinstance(result, Server):
            self._handle = result
        return result

    @property
    def server(self) -> Server:
        """The server that serves this app: its status(), and commands to it.

        In a worker, and in a program that used `start(block=False)`; elsewhere StateError.
        """
        if context.current is not None:
            return server_of_worker(context.current)
        if self._handle is None:
            raise StateError("no server of this process serves this app: use start(block=False), or aeros.connect(pid)")
        return self._handle

    @property
    def worker(self) -> WorkerContext:
        """The worker this code runs in: its slot, generation and pid. StateError outside a worker."""
        return current_worker()

    # --- hooks -----------------------------------------------------------------------------------------------

    def before_fork(self, function: F) -> F:
        """Call `function` in the zygote, before each worker is forked. Plain def; may take a WorkerInfo.

        The place to let go of what must not be shared. An exception keeps that worker from being forked.
        """
        self.hooks.add("before_fork", function)
        return function

    def after_fork(self, function: F) -> F:
        """Call `function` in each new worker, before its event loop exists. Plain def; may take a WorkerInfo.

        The place to make anew what does not survive a fork: connections, threads, tracers. An exception ends the
        worker.
        """
        self.hooks.add("after_fork", function)
        return function

    def worker_ready(self, function: F) -> F:
        """Call `function` in each worker, in its loop, when start-up is done and before it accepts. May be async."""
        self.hooks.add("worker_ready", function)
        return function

    def worker_exit(self, function: F) -> F:
        """Call `function` in the zygote when a worker has ended, however it did. Plain def; takes a WorkerInfo."""
        self.hooks.add("worker_exit", function)
        return function

    def on_reload(self, function: F) -> F:
        """Call `function` after each reload, in the zygote whose generation serves from then on: the new one, or
        the old one when it was refused. Plain def; may take a `Reloaded`."""
        self.hooks.add("on_reload", function)
        return function

    # --- what Quart lets us say better ------------------------------------------------------------------------

    async def make_response(self, result: Any) -> Any:
        """As Quart's; a call that was not awaited is named."""
        value = result[0] if isinstance(result, tuple) and result else result
        if inspect.iscoroutine(value):
            raise not_awaited(value)
        return await super().make_response(result)

    async def startup(self) -> None:
        """As Quart's; in a worker the traceback of a failure is kept for the supervisor, which logs it once
        for all workers."""
        self._starting_up = context.current is not None
        try:
            await super().startup()
        finally:
            self._starting_up = False

    def log_exception(self, *arguments: Any) -> None:
        """As Quart's; but for a failing start-up in a worker (see `startup`), and for a handler that ended because its
        client was gone: that is no fault, and would fill the log at each reload with WebSockets.

        arguments: Quart's own, of which newer ones have a context before the exception information.
        """
        error = arguments[-1][1]
        if self._starting_up and error is not None:
            text = "".join(traceback.format_exception(error))
            self._startup_failure = (f"{type(error).__name__}: {error}", text, False)
            return
        if error is None or not is_of_gone(error):
            super().log_exception(*arguments)

    def startup_failure(self) -> tuple[str, str, bool] | None:
        """Return reason, traceback and whether it is in the log already, of a start-up that failed; else None."""
        return self._startup_failure
