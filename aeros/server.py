"""The handle on a running server: from the program that started it, from its workers, from anywhere."""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from . import errors
from .core.clock import monotonic
from .core.ipc.channel import Channel, ChannelClosed
from .core.ipc.messages import Answer, Command, Greeting, Hello, ProtocolError
from .core.net.unix_paths import is_listened_to, short
from .core.places import distrusted_folder, distrusted_peer, distrusted_socket, socket_elsewhere, socket_path
from .core.record import replace
from .core.shared.scoreboard import Scoreboard
from .errors import AerosError, ControlError, NotAServerError, OptionsError, ServerStopped, StateError, UpgradeFailed
from .status.records import Reloaded, ServerStatus, StatusReader, Upgraded
from .status.requests import RequestInFlight
from .status.stacks import WorkerStacks
from .version import __version__

#: How long the server may take to answer what it can answer at once.
_ANSWER_TIMEOUT_S = 10.0
_WHOSE = "a server is steered by the user who started it"


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
        self._channel = channel
        self._channel.setblocking(False)
        self._child_pid = child_pid
        self._exit_code: int | None = None
        self._lock = threading.Condition()
        self._reading = False
        self._gone = False
        self._requests = 0
        self._answers: dict[int, Answer] = {}
        greeting, fds = self._greet()
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
        with self._lock:
            if self._last_status is not None:
                return self._last_status.addresses
            self._check_readable()
            return tuple(self._scoreboard.read_summary().get("addresses", ()))

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
        answer = self._ask("restart", {"slot": slot}, _ANSWER_TIMEOUT_S)
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
        return WorkerStacks.from_message(self._ask("stack", {"slot": slot}, _ANSWER_TIMEOUT_S))

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
                answer = self._ask("logs", arguments, None if waiting else _ANSWER_TIMEOUT_S)
                if answer["missed"]:
                    yield f"… {answer['missed']} events were missed: this reader is slower than the log …"
                yield from answer["lines"]
                after = answer["last"]
                if not follow:
                    return

    def reopen_logs(self) -> None:
        """Have every process open its log files by name again, after a rotation."""
        self._ask("reopen", {}, _ANSWER_TIMEOUT_S)

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
            self._listen(0.1 if left is None else min(0.1, left))
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
        self._gone = True
        with self._lock:
            if self._unreadable:
                self._channel.close()
            elif self._last_status is None:
                # How a stopped server was doing is a fair question; its shared memory need not be kept for it.
                self._last_status = replace(
                    self._reader.read(), state="stopped", workers=(), ready_workers=0, rss_bytes=None, pss_bytes=None
                )
                self._scoreboard.close()
                self._channel.close()
            self._lock.notify_all()

    def __del__(self) -> None:
        # A handle made for one question and dropped is no leak worth a warning.
        with contextlib.suppress(Exception):
            self._channel.close()

    def __repr__(self) -> str:
        return f"<aeros.Server pid={self.pid} {'running' if self.running else 'stopped'}>"

    # --- the line ---

    def _greet(self) -> tuple[Greeting, list[int]]:
        deadline = monotonic() + _ANSWER_TIMEOUT_S
        try:
            self._channel.send(Hello(__version__))
            while monotonic() < deadline:
                select.select([self._channel.fileno()], [], [], max(0.0, deadline - monotonic()))
                for message, fds in self._channel.receive():
                    if isinstance(message, Greeting):
                        return message, fds
                    raise NotAServerError(getattr(message, "error", "") or "it does not answer as an Aeros server")
        except ChannelClosed:
            raise ServerStopped("the server closed the connection") from None
        except ProtocolError as error:
            raise NotAServerError(str(error)) from None
        raise ControlError(f"no answer within {_ANSWER_TIMEOUT_S:.0f} s")

    def _ask(self, verb: str, arguments: dict[str, Any], timeout: float | None) -> dict[str, Any]:
        deadline = None if timeout is None else monotonic() + timeout
        with self._lock:
            self._requests += 1
            request = self._requests
            try:
                self._channel.send(Command(request, verb, arguments))
            except (ChannelClosed, OSError):
                self._gone = True
                raise ServerStopped("the server has stopped") from None
        while True:
            with self._lock:
                answer = self._answers.pop(request, None)
                gone = self._gone
            if answer is not None:
                return _result(answer)
            if gone:
                raise ServerStopped("the server has stopped")
            left = None if deadline is None else deadline - monotonic()
            if left is not None and left <= 0:
                raise ControlError(f"the server (pid {self.pid}) has not answered {verb!r} within {timeout} s")
            self._listen(0.5 if left is None else min(0.5, left))

    def _listen(self, seconds: float) -> None:
        """Wait for something to happen on the line. One thread reads; the others wait for what it finds."""
        with self._lock:
            if self._reading:
                self._lock.wait(seconds)
                return
            if self._gone:
                self._lock.wait(min(seconds, 0.02))
                return
            self._reading = True
        try:
            ready, _, _ = select.select([self._channel.fileno()], [], [], seconds)
            if ready:
                self._take()
        except (OSError, ValueError):
            self._gone = True
        finally:
            with self._lock:
                self._reading = False
                self._lock.notify_all()

    def _take(self) -> None:
        with self._lock:
            try:
                for message, _ in self._channel.receive():
                    if isinstance(message, Answer):
                        self._answers[message.request] = message
            except (ChannelClosed, ProtocolError):
                self._gone = True

    def _poll(self) -> int | None:
        """Return the exit code if the supervisor has ended."""
        if self._exit_code is not None:
            return self._exit_code
        if self._child_pid is None:
            if _alive(self.pid):
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


def connect(server: int | str | os.PathLike[str]) -> Server:
    """Return a handle on a running server of this user: by its supervisor's pid or its control socket's path.

    Raises NotAServerError, naming what is there instead; also where another user than this one or root may be the one
    who answers, who is told nothing then.
    """
    if isinstance(server, int):
        path, name = socket_path(server), f"pid {server}"
        _check_folder(path.parent)
        if not path.exists():
            elsewhere = socket_elsewhere(server)
            if elsewhere is None:
                raise NotAServerError(_why_no_socket(server, path))
            path = elsewhere
            _check_folder(path.parent)
    else:
        path, name = Path(server), str(server)
        if not path.exists():
            raise NotAServerError(f"{name} does not exist")
    channel = Channel(_trusted_line(path, name), name)
    try:
        return Server(channel)
    except AerosError as error:
        channel.close()
        raise NotAServerError(f"{name} is not an Aeros server: {error}") from None


def _trusted_line(path: Path, name: str) -> socket.socket:
    """Return a connection to a socket that only this user or root can have put there. Raises NotAServerError."""
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    line.settimeout(_ANSWER_TIMEOUT_S)
    try:
        why = distrusted_socket(path)
        if not why:
            with short(path) as address:
                line.connect(address)
            why = distrusted_peer(line)
    except OSError as error:
        line.close()
        raise NotAServerError(f"{name} is not a running Aeros server: {path}: {error.strerror or error}") from None
    if why:
        line.close()
        raise NotAServerError(f"{name} is not trusted: {why}; nothing was said to it ({_WHOSE})")
    return line


def running_servers() -> list[int]:
    """Return the supervisors of this user that have a control socket at the usual place.

    Raises NotAServerError where another user has been at that place.
    """
    return [pid for pid in _control_sockets() if is_listened_to(socket_path(pid))]


def left_sockets() -> list[int]:
    """Return the pids of control sockets that nobody listens at, where there is a process of that number: another one,
    most likely. Raises NotAServerError as above."""
    return [pid for pid in _control_sockets() if not is_listened_to(socket_path(pid)) and _alive(pid)]


def _control_sockets() -> list[int]:
    """Return the pids that the sockets at the usual place are named after."""
    folder = socket_path(0).parent
    _check_folder(folder)
    with contextlib.suppress(OSError):
        return sorted(int(entry.stem) for entry in folder.iterdir() if entry.suffix == ".sock" and entry.stem.isdigit())
    return []


def _check_folder(folder: Path) -> None:
    """Raise NotAServerError where another user may have been at the place of this user's control sockets."""
    with contextlib.suppress(OSError):  # where there is none, there is no server either
        if why := distrusted_folder(folder):
            raise NotAServerError(f"no server is looked for: {why} ({_WHOSE})")


def _why_no_socket(pid: int, path: Path) -> str:
    if not _alive(pid):
        return f"there is no process {pid}"
    return (
        f"pid {pid} is not an Aeros server of this user, or was started with --control off or another path "
        f"(no socket at {path})"
    )


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        # A zombie has ended; it only waits to be reaped by somebody else.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True


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


def _result(answer: Answer) -> dict[str, Any]:
    if not answer.error:
        return answer.result
    kind = getattr(errors, answer.error_kind, ControlError)
    if not (isinstance(kind, type) and issubclass(kind, AerosError)):
        kind = ControlError
    if answer.traceback:
        with contextlib.suppress(TypeError):  # not every error carries one
            raise kind(answer.error, traceback=answer.traceback)  # type: ignore[call-arg]
    raise kind(answer.error)
