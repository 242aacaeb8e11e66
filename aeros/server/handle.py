"""The handle on a running server: from the program that started it, from its workers, from anywhere."""

from __future__ import annotations

import contextlib
import os
import shlex
import threading
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from ..core.clock import monotonic
from ..core.ipc.channel import Channel
from ..core.process.signalling import is_alive
from ..core.record import replace
from ..core.shared.scoreboard import Scoreboard
from ..errors import ControlError, OptionsError, ServerStopped, StateError, UpgradeFailed
from ..status.profile import WorkerProfile
from ..status.reader import StatusReader
from ..status.records import Reloaded, ServerStatus, Upgraded
from ..status.requests import RequestInFlight
from ..status.stacks import WorkerStacks
from ..version import __version__
from .line import ANSWER_TIMEOUT_S, Line


class Server:
    """A running server. Thread-safe. As a context manager it stops the server that `start` returned it for; one of
    `connect` is only let go of: a look at somebody's server must not end it.

    pid: of the supervisor. status() reads shared memory and never waits for any process of the server; the
    commands are answered by the supervisor.
    """

    def __init__(self, channel: Channel, *, child_pid: int | None = None) -> None:
        """Used by `WebServer.start` and `connect`. child_pid: the supervisor, where it is our child to reap.

        Raises ControlError when the other end does not answer as an Aeros server does.
        """
        self._line = Line(channel)
        self._child_pid = child_pid
        self._exit_code: int | None = None
        self._lock = threading.Lock()
        greeting, fds = self._line.greet()
        self.pid = greeting.pid
        self._unreadable = ""
        try:
            self._scoreboard = _scoreboard_of(fds)
            self._reader = StatusReader(self._scoreboard)
        except ValueError:
            # Commands are understood across versions: the upgrade that brings this one must be among them.
            for fd in fds:
                os.close(fd)
            self._unreadable = (
                f"the server (pid {self.pid}) is of another Aeros ({greeting.aeros_version}), whose figures this one "
                f"({__version__}) cannot read; aeros upgrade makes it one of this version"
            )
        self._last_status: ServerStatus | None = None

    # --- facts ---

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return where it listens: ("http://127.0.0.1:8000", "unix:/run/app.sock"), real ports."""
        return tuple(self._fact("addresses", ()))

    @property
    def name(self) -> str:
        """Return what it serves, as `aeros run` was told, or as the program is called; "" while that is not known."""
        return str(self._fact("name", ""))

    @property
    def directory(self) -> str:
        """Return the directory it was started in; "" where that is not known."""
        return str(self._fact("directory", ""))

    def _fact(self, name: str, default: object) -> Any:
        """Return what the supervisor says of itself. No process is measured, as `status` does: what that tells of the
        processor is since the reading before."""
        with self._lock:
            if self._last_status is not None:
                return getattr(self._last_status, name)
            self._check_readable()
            return self._scoreboard.read_summary().get(name, default)

    @property
    def url(self) -> str:
        """Return an address a client on this machine can use: http://127.0.0.1:8000."""
        addresses = self.addresses
        chosen = next((address for address in addresses if address.startswith("http")), addresses[0])
        return chosen.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")

    @property
    def running(self) -> bool:
        """Whether the supervisor is alive."""
        return self._poll() is None

    def status(self) -> ServerStatus:
        """Return how the server and each worker are doing now. Of a stopped one: its last figures, "stopped".

        Raises ControlError if the server is of another version of Aeros, whose figures this one cannot read.
        """
        if not self.running:
            self.close()
        with self._lock:
            self._check_readable()
            return self._last_status if self._last_status is not None else self._reader.read()

    def requests(self) -> tuple[RequestInFlight, ...]:
        """Return the requests in flight in all workers, oldest first, then the open WebSockets, oldest first.

        Of one worker the fifty oldest of each, and the newest. Never waits.
        """
        if not self.running:
            self.close()
        with self._lock:
            self._check_readable()
            return () if self._last_status is not None else self._reader.requests()

    def _check_readable(self) -> None:
        if self._unreadable:
            raise ControlError(self._unreadable)

    # --- commands ---

    def reload(self, timeout: float | None = None) -> Reloaded:
        """Load the program's code anew and replace all workers; return when the new ones serve.

        timeout: seconds; after that the reload is refused (default: the boot timeout). Raises ReloadFailed, with
        the new program's traceback, when it was refused: then the old workers go on serving.
        """
        answer = self._ask("reload", {"timeout_s": timeout}, None)
        return Reloaded(**answer)

    def upgrade(self, timeout: float | None = None, arguments: str | Sequence[str] | None = None) -> Upgraded:
        """Run the program again as a whole, with a supervisor of its own (new Python, new Aeros, new options), which
        inherits the sockets and takes over when its workers are ready; return when it has.

        This handle is then on the old server, which ends with its last connection; `connect` to the new one by the pid
        of the result. timeout: seconds; after that the upgrade is refused. arguments: for the program, instead of all
        those it was started with: "-w 6" or ["-w", "6"]; of `aeros run APP` the APP stays. None: the same as before.
        Raises UpgradeFailed when it was refused: the server goes on as it was. Raises OptionsError if arguments are no
        texts.
        """
        if arguments is None:
            return Upgraded.from_message(self._ask("upgrade", {"timeout_s": timeout}, None))
        asked = {"timeout_s": timeout, "arguments": _words(arguments)}
        try:
            return Upgraded.from_message(self._ask("upgrade_with", asked, None))
        except StateError as error:
            if "no command" not in str(error):
                raise
            raise UpgradeFailed(
                "the running server is of an older Aeros, which cannot give its program other arguments; upgrade it "
                "without any first"
            ) from None

    def scale(self, workers: int, timeout: float | None = 60.0) -> None:
        """Change the number of workers, and wait until they are ready. Raises OptionsError, ControlError."""
        self._ask("scale", {"workers": workers}, timeout)

    def restart(self, slot: int | None = None) -> list[int]:
        """Replace the worker of `slot`, or every worker, one after the other, each replacement ready first.

        Returns the slots that will be; does not wait for them.
        """
        answer = self._ask("restart", {"slot": slot}, ANSWER_TIMEOUT_S)
        return list(answer["slots"])

    def debug(self, slot: int, how: str, seconds: float = 1.0) -> None:
        """Have the worker of `slot` fail on purpose: delay (its loop stands still for `seconds`), block, deadlock, leak
        (64 MiB), exit or segv. Raises StateError if the server was started without --debug-faults."""
        self._ask("debug", {"slot": slot, "how": how, "seconds": seconds}, 10.0)

    def stack(self, slot: int) -> WorkerStacks:
        """Return where the worker of `slot` is: the stacks of its threads, the awaits of its tasks.

        Works for a worker whose event loop is blocked; see WorkerStacks. Raises OptionsError without such a slot,
        StateError with no worker in it.
        """
        return WorkerStacks.from_message(self._ask("stack", {"slot": slot}, ANSWER_TIMEOUT_S))

    def profile(self, slot: int, seconds: float = 10.0) -> WorkerProfile:
        """Return where the worker of `slot` spends its time, as sampled for so many seconds; it serves on.

        Raises OptionsError without such a slot, StateError where it cannot be had.
        """
        asked = {"slot": slot, "seconds": seconds}
        return WorkerProfile.from_message(self._ask("profile", asked, seconds + ANSWER_TIMEOUT_S))

    def wait_ready(self, timeout: float | None = None) -> None:
        """Wait until all workers are ready. Raises AppLoadError when they cannot be, ControlError after timeout."""
        self._ask("wait_ready", {}, timeout)

    def _wait_settled(self) -> None:
        """Wait until the supervisor is the server; at once, unless it is to succeed another. For its dashboard."""
        with contextlib.suppress(StateError):  # of an older supervisor, which starts its dashboard only then
            self._ask("wait_settled", {}, None)

    def ping(self, timeout: float = 2.0) -> None:
        """Have the supervisor itself answer. Raises ControlError when it has not after `timeout` seconds."""
        self._ask("ping", {}, timeout)

    def logs(self, most: int | None = None, *, follow: bool = False) -> Iterator[str]:
        """Yield the latest events of the log of supervisor, zygotes and workers, each a line and its traceback.

        The supervisor keeps the last 1000, of 256 KiB at most. most: no more of these. follow: go on with those that
        come, until the server has stopped; a reader that is too slow misses some, and one line says how many.
        """
        after: int | None = None
        with contextlib.suppress(*((ServerStopped,) if follow else ())):
            while True:
                waiting = follow and after is not None
                arguments = {"after": after, "most": None if waiting else most, "wait": waiting}
                answer = self._ask("logs", arguments, None if waiting else ANSWER_TIMEOUT_S)
                if answer["missed"]:
                    yield f"… {answer['missed']} events were missed: this reader is slower than the log …"
                yield from answer["lines"]
                after = answer["last"]
                if not follow:
                    return

    def reopen_logs(self) -> None:
        """Have every process open its log files by name again, after a rotation."""
        self._ask("reopen", {}, ANSWER_TIMEOUT_S)

    def stop(self, timeout: float | None = None, *, now: bool = False) -> int:
        """Stop, gracefully or `now`, and wait for it; return the exit code (see `ExitCode`). Harmless when stopped.

        timeout: seconds to wait for the graceful stop before it becomes `now`; None: the server's own bounds.
        """
        with contextlib.suppress(ServerStopped):
            try:
                self._ask("stop", {"now": now}, timeout)
            except ControlError as error:
                if isinstance(error, ServerStopped) or timeout is None:
                    raise
                self._ask("stop", {"now": True}, None)
        return self.wait()

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the server has ended; return its exit code. Raises TimeoutError after `timeout` seconds.

        Only the program that started the server can learn the code; for others it is what the server last said.
        """
        deadline = None if timeout is None else monotonic() + timeout
        while (code := self._poll()) is None:
            left = None if deadline is None else deadline - monotonic()
            if left is not None and left <= 0:
                raise TimeoutError(f"the server (pid {self.pid}) has not ended within {timeout} s")
            self._line.listen(0.1 if left is None else min(0.1, left))
        self.close()
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._child_pid is not None:
            self.stop()
        else:
            self.close()

    def close(self) -> None:
        """Let go of the handle. A server started with block=False stops when its handle is gone."""
        self._line.gone = True
        with self._lock:
            if not self._unreadable and self._last_status is None:
                # How a stopped server was doing is a fair question; its shared memory need not be kept for it.
                self._last_status = replace(
                    self._reader.read(), state="stopped", workers=(), ready_workers=0, rss_bytes=None, pss_bytes=None
                )
                self._scoreboard.close()
        self._line.close()

    def __del__(self) -> None:
        # A handle made for one question and dropped is no leak worth a warning.
        with contextlib.suppress(Exception):
            self._line.close()

    def __repr__(self) -> str:
        return f"<aeros.Server pid={self.pid} {'running' if self.running else 'stopped'}>"

    def _ask(self, verb: str, arguments: dict[str, Any], timeout: float | None) -> dict[str, Any]:
        return self._line.ask(verb, arguments, timeout, f" (pid {self.pid})")

    def _poll(self) -> int | None:
        """Return the exit code if the supervisor has ended."""
        if self._exit_code is not None:
            return self._exit_code
        if self._child_pid is None:
            if is_alive(self.pid):
                return None
            self._exit_code = 0
            return self._exit_code
        with self._lock:
            if self._exit_code is None:
                try:
                    pid, status = os.waitpid(self._child_pid, os.WNOHANG)
                except ChildProcessError:
                    # Somebody else in this process has reaped it.
                    pid, status = self._child_pid, 0
                if pid:
                    self._exit_code = os.waitstatus_to_exitcode(status)
        return self._exit_code


def _words(arguments: str | Sequence[str]) -> list[str]:
    if not isinstance(arguments, str):
        if not all(isinstance(word, str) for word in arguments):
            raise OptionsError(f"arguments must be text or a list of texts, not {str(arguments)[:80]}")
        return list(arguments)
    try:
        return shlex.split(arguments)
    except ValueError as error:  # a quote without its end
        raise OptionsError(f"cannot split arguments {arguments[:80]!r}: {error}") from None


def _scoreboard_of(fds: list[int]) -> Scoreboard:
    """Return the scoreboard that a server gave with its greeting. Raises ValueError for one of another version."""
    if len(fds) != 2:
        raise ValueError("a server of another version of Aeros")
    return Scoreboard(*fds, writable=False)
