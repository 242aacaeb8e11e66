"""How a program learns that a supervisor has run it, to be its next generation or to succeed it.

A variable names the process that is meant and the descriptor of its line to the supervisor. Whatever the program starts
inherits both, or has a descriptor of its own under that number. So none of it is believed: the process must be the
one that is meant, and the descriptor one end of a socket pair that its parent has made.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
import sys
from collections.abc import Mapping, MutableMapping

from ...core.ipc.channel import Channel
from ...core.ipc.descriptors import put_away
from ...errors import StartError

#: Says that, when it reaches start(), the program is to become the zygote of a new generation.
CHANNEL_VARIABLE = "AEROS_INTERNAL_CHANNEL"
#: The same, but it is to become the supervisor that succeeds the one at the other end.
UPGRADE_VARIABLE = "AEROS_INTERNAL_UPGRADE"
#: The number of the line's descriptor in the program.
LINE_FD = 3

#: As `spell` writes it. Older supervisors, which upgrade to this version, write the number of the descriptor alone.
_VALUE = re.compile(r"(?:(\d{0,10}):(\d{1,10}):)?(\d{1,5})(\+faulthandler)?", re.ASCII)


def spell(*, faulthandler: bool) -> str:
    """Return the variable's value, but for the pid of the program: nobody knows it yet, so the shim puts it in front.

    faulthandler: PYTHONFAULTHANDLER was set for this program alone.
    """
    return f":{os.getpid()}:{LINE_FD}" + ("+faulthandler" if faulthandler else "")


def is_meant(variable: str, environ: Mapping[str, str]) -> bool:
    """Whether a supervisor has run this very process, as far as `environ` says. Nothing is taken: as long as the
    program loads, it is to show where it hangs."""
    told = _VALUE.fullmatch(environ.get(variable, ""))
    if told is None:
        return False
    return int(told[1]) == os.getpid() if told[1] else int(told[2] or os.getppid()) == os.getppid()


def take(variable: str, environ: MutableMapping[str, str]) -> Channel | None:
    """Return the line to the supervisor that has summoned this very process; None if it is not summoned.

    The variable is gone from `environ` afterwards. Raises StartError where this process is meant, but the program has
    closed its line: as a server of its own it would only get in the way of the one that runs.
    """
    told = _VALUE.fullmatch(environ.pop(variable, ""))
    if told is None:
        return None
    if told[4]:
        _undo_faulthandler(environ)
    meant, supervisor, fd = int(told[1] or 0), int(told[2] or os.getppid()), int(told[3])
    if meant not in (0, os.getpid()):
        return None  # inherited from the program that is meant
    line = _line(fd, supervisor)
    if line is None and meant and supervisor == os.getppid():
        raise StartError(
            f"this program was run by the supervisor {supervisor} and has closed its line to it, descriptor {fd}: "
            "a program must not close descriptors that it did not open before it reaches start()"
        )
    # A frozen program has no shim that could say its pid. Only a child of the supervisor can be meant then; of a
    # supervisor that has died meanwhile the line tells.
    if line is None or not (meant or supervisor == os.getppid() or _is_over(line)):
        return None
    os.close(fd)
    return Channel(line, "the supervisor")


def _line(fd: int, supervisor: int) -> socket.socket | None:
    """Return a copy of the line on a number out of the way; None where the descriptor is something else.

    A copy, because what is somebody else's must not be closed. Out of the way, because a bind may mean a low number
    (fd://3).
    """
    try:
        line = socket.socket(fileno=put_away(fd))
    except OSError:
        return None
    if _is_end_of_pair(line) and _maker(line) in (supervisor, None):
        return line
    line.close()
    return None


def _is_end_of_pair(line: socket.socket) -> bool:
    """Whether it is a stream between two Unix sockets without a name, as socketpair() makes them."""
    if (line.family, line.type) != (socket.AF_UNIX, socket.SOCK_STREAM):
        return False
    try:
        return not line.getsockname() and not line.getpeername()
    except OSError:
        return False


def _maker(line: socket.socket) -> int | None:
    """Return the pid of who has made the pair: for both its ends that is the peer. None where the system cannot say."""
    if sys.platform != "linux":
        return None
    return int(struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])


def _is_over(line: socket.socket) -> bool:
    with contextlib.suppress(OSError):
        return not line.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    return False


def _undo_faulthandler(environ: MutableMapping[str, str]) -> None:
    """It was to tell where the program hangs before it reached start()."""
    environ.pop("PYTHONFAULTHANDLER", None)
    import faulthandler

    faulthandler.disable()
