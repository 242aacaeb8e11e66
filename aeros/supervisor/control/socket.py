"""The control line: commands and their answers, over a private socket or the handle's own channel.

Clients are never trusted with the supervisor's time: what they send is bounded, their number is bounded, a
client that does not read is dropped, and nothing here waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import stat
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from ...core.ipc.channel import Bounds, Channel, ChannelClosed, close_fds
from ...core.ipc.messages import MAX_MESSAGE_BYTES, Answer, Command, Greeting, Hello, Message, ProtocolError, clip
from ...core.log.lines import LineLog
from ...core.net.unix_paths import is_listened_to, short
from ...core.places import distrusted_folder, peer_uid, socket_path
from ...core.record import mutable
from ...errors import AerosError
from ...version import __version__
from ..system.system import System

MAX_CLIENTS = 64
#: Commands are short. A client that stops reading is dropped when so much waits for it: the longest answer, and some.
_BOUNDS = Bounds(fds=0, message_bytes=1 << 16, pending_bytes=2 * MAX_MESSAGE_BYTES)
#: Commands of one client that may be without an answer.
MAX_UNANSWERED = 64
#: For so long, or so many messages, clients are listened to before the loop is for others again.
_TURN_S = 0.002
_TURN_MESSAGES = 32
#: With all places taken, one that was accepted longer ago and has never said a whole message makes way.
_SAY_SOMETHING_S = 1.0
#: Out of descriptors or memory: clients wait in the backlog for this long.
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE_S = 0.5


@mutable(eq=False)
class _Client:
    channel: Channel
    on_close: Callable[[], None] | None
    since: float
    #: Has said a whole message, or was never asked to (the handle's own channel, the dashboard).
    has_spoken: bool
    unanswered: int = 0


#: An answer, or why there is none; called once, now or later.
Reply = Callable[[dict[str, Any] | AerosError], None]


class Commands(Protocol):
    """Who obeys."""

    def obey(self, verb: str, arguments: dict[str, Any], reply: Reply) -> None:
        """Do `verb`, then `reply`."""


class ControlLine:
    """Accepts clients on a Unix socket (if it can have one) and serves them and the handle."""

    def __init__(
        self, commands: Commands, scoreboard_fds: Callable[[], list[int]], log: LineLog, system: System
    ) -> None:
        self._commands = commands
        self._scoreboard_fds = scoreboard_fds
        self._log = log
        self._system = system
        self._loop = asyncio.get_running_loop()
        self._listener: socket.socket | None = None
        self._path: Path | None = None
        self._inode = 0
        self._clients: dict[int, _Client] = {}
        #: Those that have said something, each once.
        self._turns: deque[_Client] = deque()
        self._turning = False

    @property
    def path(self) -> str:
        """Return the socket's path, "" when there is none."""
        return str(self._path or "")

    def open(self, where: str, *, succeeding: bool = False) -> None:
        """Listen at `where`: a path, "auto" for the user's runtime directory, "off" for nowhere.

        succeeding: the place is another supervisor's, whose socket ours replaces without a moment between. A place that
        cannot be had costs one line in the log, never the start.
        """
        if where == "off":
            return
        path = socket_path(os.getpid()) if where == "auto" else Path(where)
        try:
            if where == "auto":
                _private_directory(path.parent)
                _clear_stale(path.parent)
            self._listen(path, aside=succeeding or where == "auto")
        except OSError as error:
            # An enemy's work is worth a warning: nobody can steer the server.
            log = self._log.warning if error.errno == errno.EPERM else self._log.info
            log(f"no control socket: {path}: {error.strerror or error} (the server runs without; see --control)")

    def _listen(self, path: Path, *, aside: bool) -> None:
        """aside: have the socket appear at `path` when it listens, in place of whatever is there. Whoever tidies up
        the folder takes one that nobody listens at for a dead server's."""
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(path.stat().st_mode):
                raise OSError(errno.EEXIST, "a file of another kind is there")
            if not aside:
                if is_listened_to(path):
                    raise OSError(errno.EADDRINUSE, "another server listens there")
                path.unlink()
        bound = path.with_name(f".{os.getpid()}") if aside else path
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            bound.unlink(missing_ok=True) if aside else None
            with short(bound) as address:
                listener.bind(address)
            listener.listen(16)
            if aside:
                bound.replace(path)
        except BaseException:
            listener.close()
            raise
        finally:
            os.umask(mask)
        listener.setblocking(False)
        self._listener, self._path, self._inode = listener, path.absolute(), path.stat().st_ino
        self._watch()

    def _watch(self) -> None:
        if self._listener is not None:
            self._loop.add_reader(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            connection = self._system.accept(self._listener)
        except OSError as error:
            if error.errno in _EXHAUSTED:
                # Still readable, so watching it would spin until somebody lets go of a descriptor.
                self._loop.remove_reader(self._listener.fileno())
                self._loop.call_later(_PAUSE_S, self._watch)
            return
        connection.setblocking(False)
        uid = peer_uid(connection)
        if uid not in (os.geteuid(), 0):
            self._log.warning(f"control: refused a client of user {uid}")
            connection.close()
        elif len(self._clients) >= MAX_CLIENTS and not self._make_room():
            with contextlib.suppress(OSError, ChannelClosed):  # it may have left already
                text = f"{MAX_CLIENTS} clients are connected to this server already"
                Channel(connection, "a control client").send(Answer(0, text, "ControlError", "", {}))
            connection.close()
        else:
            self._serve(
                _Client(Channel(connection, "a control client", _BOUNDS), None, self._system.monotonic(), False)
            )

    def _make_room(self) -> bool:
        silent = [client for client in self._clients.values() if not client.has_spoken]
        if not silent or self._system.monotonic() < silent[0].since + _SAY_SOMETHING_S:
            return False
        self._drop(silent[0])
        return True

    def adopt(self, channel: Channel, on_close: Callable[[], None] | None = None) -> None:
        """Serve one client. on_close: called when it is gone."""
        self._serve(_Client(channel, on_close, self._system.monotonic(), True))

    def _serve(self, client: _Client) -> None:
        fd = client.channel.fileno()
        self._clients[fd] = client
        self._loop.add_reader(fd, self._heard, client)

    def _heard(self, client: _Client) -> None:
        """It has said something. It gets its turn, and is not read from any further until then."""
        self._loop.remove_reader(client.channel.fileno())
        self._turns.append(client)
        if not self._turning:
            self._turning = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Take one message of each client in turn, for a moment; then the loop is for as long as that took, and at
        least once, for workers and zygotes. So supervision is never further away than that, whatever clients do."""
        begun = self._system.monotonic()
        for _ in range(_TURN_MESSAGES):
            if not self._turns:
                break
            self._listen_to(self._turns.popleft())
            if self._system.monotonic() - begun >= _TURN_S:
                break
        self._turning = bool(self._turns)
        if self._turning:
            self._loop.call_later(self._system.monotonic() - begun, self._turn)

    def _listen_to(self, client: _Client) -> None:
        channel = client.channel
        if channel.fileno() == -1:
            return
        try:
            for message, fds in channel.receive(1):
                close_fds([(message, fds)])
                client.has_spoken = True
                self._handle(client, message)
        except ChannelClosed:
            self._drop(client)
        except ProtocolError as error:
            self._refuse(client, error)
        if channel.fileno() == -1:
            return
        if channel.holds_message:
            self._turns.append(client)
        else:
            self._loop.add_reader(channel.fileno(), self._heard, client)

    def _refuse(self, client: _Client, error: ProtocolError) -> None:
        self._log.warning(f"control: {error}; dropped")
        with contextlib.suppress(ChannelClosed):
            client.channel.send(Answer(0, str(error), "ControlError", "", {}))
        self._drop(client)

    def _handle(self, client: _Client, message: Message) -> None:
        if isinstance(message, Hello):
            try:
                fds = self._scoreboard_fds()
            except OSError as error:
                raise ProtocolError(f"no scoreboard for a control client: {error.strerror}") from None
            try:
                self._send(client, Greeting(os.getpid(), __version__), fds)
            finally:
                for fd in fds:
                    os.close(fd)
            return
        if not isinstance(message, Command):
            raise ProtocolError(f"a control client sent a {type(message).__name__}, which is not a command")
        if client.unanswered >= MAX_UNANSWERED:
            raise ProtocolError(f"a control client has {MAX_UNANSWERED} commands without an answer and sends more")
        request = message.request
        client.unanswered += 1

        def reply(outcome: dict[str, Any] | AerosError) -> None:
            client.unanswered -= 1
            if isinstance(outcome, AerosError):
                traceback = clip(getattr(outcome, "traceback", ""))
                self._send(client, Answer(request, str(outcome), type(outcome).__name__, traceback, {}))
            else:
                self._send(client, Answer(request, "", "", "", outcome))

        self._commands.obey(message.verb, message.arguments, reply)

    def _send(self, client: _Client, message: Message, fds: list[int] | None = None) -> None:
        channel = client.channel
        if channel.fileno() == -1:
            return
        try:
            channel.send(message, fds or [])
            if channel.pending:
                self._loop.add_writer(channel.fileno(), self._flush, client)
        except (ChannelClosed, OSError):
            self._drop(client)

    def _flush(self, client: _Client) -> None:
        try:
            if client.channel.flush():
                self._loop.remove_writer(client.channel.fileno())
        except ChannelClosed:
            self._drop(client)

    def _drop(self, client: _Client) -> None:
        fd = client.channel.fileno()
        if fd == -1:
            return
        self._clients.pop(fd, None)
        self._loop.remove_reader(fd)
        self._loop.remove_writer(fd)
        client.channel.close()
        if client.on_close is not None:
            client.on_close()

    def resume(self, where: str) -> None:
        """Listen again if another supervisor, which then did not take over, has put its socket in the place of ours."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                if self._path.stat().st_ino == self._inode:
                    return
            self.retire()
            self.open(where)

    def close(self) -> None:
        """Answer nobody any more."""
        for client in list(self._clients.values()):
            client.on_close = None
            self._drop(client)
        self.retire()

    def retire(self) -> None:
        """Take no more clients, and remove the socket file if it is still ours; those there are go on being served."""
        if self._listener is not None and self._path is not None:
            self._loop.remove_reader(self._listener.fileno())
            self._listener.close()
            self._listener = None
            with contextlib.suppress(OSError):
                if self._path.stat().st_ino == self._inode:
                    self._path.unlink()


def _private_directory(path: Path) -> None:
    """Make `path` with mode 0700, or check that it is ours and nobody else's. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    if path.lstat().st_uid == os.geteuid() and not path.is_symlink():
        path.chmod(0o700)
    if why := distrusted_folder(path):
        raise OSError(errno.EPERM, why)


def _clear_stale(folder: Path) -> None:
    """Remove sockets of supervisors that were killed before they could."""
    for entry in folder.glob("*.sock"):
        # Not by the pid, which may be another program's by now.
        if entry.stem.isdigit() and not is_listened_to(entry):
            entry.unlink(missing_ok=True)
