"""Unix sockets at paths of any length: the address of one has room for 107 bytes, a path may have 4,095."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

#: sun_path of struct sockaddr_un, without the final zero byte.
_LONGEST = 107 if sys.platform == "linux" else 103
#: Where the kernel shows each descriptor of ours as if it were the file: a short way to a folder that is open.
_DESCRIPTORS = Path("/proc/self/fd")
#: What remains for the name of the socket itself: a descriptor has seven digits at most.
_LONGEST_NAME = _LONGEST - len("/proc/self/fd/1048576/")


def is_in_reach(path: Path) -> bool:
    """Whether a socket can be bound at this path, and connected to, as far as its length goes."""
    return len(os.fsencode(path)) <= _LONGEST or (
        len(os.fsencode(path.name)) <= _LONGEST_NAME and _DESCRIPTORS.is_dir()
    )


@contextlib.contextmanager
def short(path: Path) -> Iterator[str]:
    """Return an address for the socket at `path`, good within the context. Raises OSError for its folder."""
    if len(os.fsencode(path)) <= _LONGEST or not hasattr(os, "O_PATH"):
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield str(_DESCRIPTORS / str(folder) / path.name)
    finally:
        os.close(folder)


def is_listened_to(path: Path) -> bool:
    """Return False where nobody listens at the socket `path`: a server that was killed left it. Not known: True.

    Who it is remains to be asked; a server that is stopped, or busy, listens still.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # Where its queue is full the kernel would have us wait; so it says EAGAIN.
        probe.setblocking(False)
        try:
            with short(path) as address:
                probe.connect(address)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True
