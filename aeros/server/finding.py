"""Running servers of this user: where they are found, and whether what answers there may be trusted."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

from ..core.ipc.channel import Channel
from ..core.net.unix_paths import is_listened_to, short
from ..core.places import distrusted_folder, distrusted_peer, distrusted_socket, socket_elsewhere, socket_path
from ..core.process.signalling import is_alive
from ..errors import AerosError, NotAServerError
from .handle import Server
from .line import ANSWER_TIMEOUT_S

_WHOSE = "a server is steered by the user who started it"


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
    line.settimeout(ANSWER_TIMEOUT_S)
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
    return [pid for pid in _control_sockets() if not is_listened_to(socket_path(pid)) and is_alive(pid)]


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
    if not is_alive(pid):
        return f"there is no process {pid}"
    return (
        f"pid {pid} is not an Aeros server of this user, or was started with --control off or another path "
        f"(no socket at {path})"
    )
