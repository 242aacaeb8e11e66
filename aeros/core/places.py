"""Where the servers of one user and those who have something to say to them meet, and whether they may trust it.

Either side looks before it says a word: in a folder that everybody may write, such as /tmp, another user may have made
ours first, and listen there.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
import sys
import tempfile
from pathlib import Path


def runtime_directory() -> Path:
    """Return the directory of this user's control sockets, without making it."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    if base and Path(base).is_dir():
        return Path(base) / "aeros"
    return Path(_temporary_directory()) / f"aeros-{os.getuid()}"


def _temporary_directory() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:
        # None can be written to. There is no server then that could be met, which whoever tries to use it will say.
        return os.environ.get("TMPDIR") or "/tmp"


def socket_path(pid: int) -> Path:
    """Return where the supervisor `pid` of this user listens for commands."""
    return runtime_directory() / f"{pid}.sock"


def socket_elsewhere(pid: int) -> Path | None:
    """Return where the supervisor `pid` of this user listens, if that is another directory than `runtime_directory`:
    it was started with another TMPDIR or XDG_RUNTIME_DIR. None: not known.

    The kernel lists the Unix sockets with the paths they were bound at (Linux). Whether the one that is found may be
    trusted is asked as of any other.
    """
    try:
        lines = Path("/proc/net/unix").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    folders = {os.path.dirname(line.partition(" /")[2]) for line in lines if " /" in line}  # noqa: PTH120
    for folder in sorted(folders):
        path = Path("/", folder, f"{pid}.sock")
        if path.parent.name in ("aeros", f"aeros-{os.getuid()}") and path.is_socket():
            return path
    return None


def distrusted_folder(folder: Path) -> str:
    """Return why a folder of control sockets, which its user alone makes, is not to be used; "" if it is.

    Raises OSError. Of the folder around it nothing is asked: whoever replaces ours there is found out here.
    """
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        return f"{folder} is no folder"
    if found.st_uid != os.geteuid():
        return f"the folder {folder} belongs to {_name(found.st_uid)}"
    if found.st_mode & 0o022:
        return f"others than its owner may write the folder {folder} (mode {stat.S_IMODE(found.st_mode):04o})"
    return ""


def distrusted_socket(path: Path) -> str:
    """Return why the control socket at `path` is not to be connected to, "" if it may be. Raises OSError."""
    folder = path.parent.stat()
    if not _is_ours(folder.st_uid):
        return f"the folder {path.parent} belongs to {_name(folder.st_uid)}"
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        return f"{path} is a symbolic link"
    if not stat.S_ISSOCK(found.st_mode):
        return f"{path} is no socket"
    return "" if _is_ours(found.st_uid) else f"{path} belongs to {_name(found.st_uid)}"


def distrusted_peer(line: socket.socket) -> str:
    """Return why whoever is at the other end of a Unix socket is not to be trusted, "" if they are.

    For a client that is who called listen(): the kernel keeps it, and a file can be laid by somebody else.
    """
    uid = peer_uid(line)
    return "" if _is_ours(uid) else f"{_name(uid)} listens there"


def peer_uid(line: socket.socket) -> int:
    """Return the user at the other end of a Unix socket, as the kernel noted it."""
    if sys.platform == "linux":
        raw = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", raw)[1])
    raw = line.getsockopt(0, 1, 76)  # SOL_LOCAL, LOCAL_PEERCRED: struct xucred {version, uid, …}
    return int(struct.unpack_from("2I", raw)[1])


def _is_ours(uid: int) -> bool:
    return uid in (os.geteuid(), 0)


def _name(uid: int) -> str:
    import pwd

    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"
