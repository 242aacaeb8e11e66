"""A real server for a test: on a free port, ready when it is returned, gone at the end."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from ..core.clock import monotonic
from ..core.process.signalling import is_alive
from ..errors import AerosError, OptionsError
from ..options.parse import from_arguments
from ..options.table import BY_NAME
from ..server import Server, connect
from ..start.app.place import factory_name
from ..status.records import Reloaded, ServerStatus
from . import launch

T = TypeVar("T")

#: Those that are open, for whoever shows their logs.
OPEN: list[LiveServer] = []

_LOOK_S = 0.01
#: What a test leaves open (a stream, a WebSocket) must not hold its end up.
_STOP_S = 3.0


class LiveServer:
    """A running server of `app`, as `WebServer.start` or `aeros run` start it. A context manager that ends it.

    app: a WebServer or any other ASGI app, which is forked from the test with all it has in memory; or "module:app",
    which a fresh interpreter loads in the working directory. arguments, options: as of `WebServer.start`, with one
    worker and a free port of 127.0.0.1 where they do not say otherwise. timeout: seconds for the start.

    Raises AerosError, with the server's log as a note, if it does not start.
    """

    def __init__(
        self,
        app: Any,
        arguments: str | Sequence[str] | None = None,
        *,
        timeout: float = 30.0,
        **options: Any,
    ) -> None:
        options = _with_defaults(arguments, options)
        self._folder = Path(tempfile.mkdtemp(prefix="aeros-test-"))
        self._log_path = self._folder / "log"
        self._log_path.touch()
        self._log = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._workers: set[int] = set()
        self._closed = False
        OPEN.append(self)
        try:
            #: The handle of the server, for all that is not here: scale, stack, requests.
            self.handle = self._start(app, arguments, options, timeout)
        except BaseException as error:
            self._end_process()
            if isinstance(error, AerosError) and self.log:
                error.add_note(f"--- log of the server\n{self.log}")
            self._leave()
            raise
        self._workers = {worker.pid for worker in self.status().workers}

    def _start(
        self, app: Any, arguments: str | Sequence[str] | None, options: dict[str, Any], timeout: float
    ) -> Server:
        if not isinstance(app, str):
            return launch.fork(app, arguments, options, self._log_path)
        name = factory_name(app) if options.pop("factory", False) else app
        words = shlex.split(arguments) if isinstance(arguments, str) else list(arguments or ())
        words += launch.as_arguments(options)
        self._process = launch.run(name, words, self._folder, self._log_path)
        return launch.handle_of(self._process, self._folder, timeout)

    # --- facts ---------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where it serves, without a slash at the end: http://127.0.0.1:40553."""
        return self.handle.url

    @property
    def pid(self) -> int:
        """Of the supervisor."""
        return self.handle.pid

    @property
    def log(self) -> str:
        """What the server and the app have written so far, to standard output and standard error."""
        return self._log if self._closed else self._log_path.read_text("utf-8", "replace")

    def status(self) -> ServerStatus:
        """Return how the server and each worker are doing."""
        status = self.handle.status()
        self._workers |= {worker.pid for worker in status.workers}
        return status

    # --- what a test does to it ----------------------------------------------------------------------------------

    def kill(self, slot: int = 0, signum: int = signal.SIGKILL) -> int:
        """Send `signum` to the worker of `slot`; return its pid when it has gone. `wait_ready` waits for the next."""
        pid = next((worker.pid for worker in self.status().workers if worker.slot == slot), None)
        if pid is None:
            raise OptionsError(f"there is no worker of slot {slot}")
        os.kill(pid, signum)
        self.wait_for(lambda: all(worker.pid != pid for worker in self.status().workers), f"the end of worker {pid}")
        return pid

    def reload(self, timeout: float | None = None) -> Reloaded:
        """Reload, and return the outcome. An app that was given by name is loaded from the disk as it is now; an app
        object is the same as before. Raises ReloadFailed."""
        return self.handle.reload(timeout)

    def wait_ready(self, timeout: float = 10.0) -> None:
        """Wait until all workers are ready."""
        self.handle.wait_ready(timeout)

    def wait_log(self, pattern: str, timeout: float = 10.0) -> re.Match[str]:
        """Wait until the log matches the regular expression; return the first match."""
        return self.wait_for(lambda: re.search(pattern, self.log, re.MULTILINE), f"{pattern!r} in the log", timeout)

    def wait_for(self, check: Callable[[], T | None], what: str = "", timeout: float = 10.0) -> T:
        """Wait until `check` returns something true, and return that. Raises TimeoutError, naming `what`."""
        deadline = monotonic() + timeout
        while not (value := check()):
            if monotonic() >= deadline:
                raise TimeoutError(f"not within {timeout:g} s: {what or check}")
            time.sleep(_LOOK_S)
        return value

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the server has ended; return its exit code. Raises TimeoutError."""
        if self._process is None:
            return self.handle.wait(timeout)
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"pid {self.pid} still runs after {timeout:g} s") from None

    def stop(self, timeout: float = _STOP_S) -> int:
        """Stop the server, after `timeout` seconds without waiting for requests in flight; return its exit code."""
        with contextlib.suppress(AerosError):
            self.handle.stop(timeout)
        self._end_process()
        return self._process.returncode if self._process is not None else self.handle.wait()

    # --- its end -------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End every process of the server. The log stays."""
        if self._closed:
            return
        with contextlib.suppress(AerosError, OSError):
            self.status()
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGCONT)  # a test may have let it stand
        self._stop_heir()
        with contextlib.suppress(AerosError):
            self.stop()
        # Only those of a supervisor that was killed are still there; they would finish their requests first.
        for pid in filter(is_alive, self._workers):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        self.handle.close()
        self._leave()

    def _stop_heir(self) -> None:
        """An upgrade may have put another supervisor in the place of the first."""
        with contextlib.suppress(AerosError, OSError), connect(self._folder / "control.sock") as server:
            if server.pid != self.pid:
                server.stop(_STOP_S)

    def _end_process(self) -> None:
        """Have the child that runs an app by its name end in any case."""
        if self._process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_S if self._process.poll() is None and hasattr(self, "handle") else 0)
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_S)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _leave(self) -> None:
        self._log, self._closed = self.log, True
        OPEN.remove(self)
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<LiveServer pid {self.pid} at {self.url}>"


def _with_defaults(arguments: str | Sequence[str] | None, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options with one worker and a free port, where nobody says otherwise. Raises OptionsError."""
    said, _ = from_arguments(arguments or "")
    names = said.keys() | {BY_NAME[name].name for name in options if name in BY_NAME}
    added: dict[str, Any] = {}
    if not names & {"bind", "host", "port"}:
        added["bind"] = "127.0.0.1:0"
    if not names & {"workers", "dev"}:
        added["workers"] = 1
    return {**added, **options}
