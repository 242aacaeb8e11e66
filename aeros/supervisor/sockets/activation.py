"""Sockets that systemd bound for this process (LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES), see sd_listen_fds(3)."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

from ...core.record import record

_FIRST = 3
_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")


@record
class Activated:
    """What was passed, in order. why_not: why sockets meant for somebody else are left alone, "" if there are none."""

    sockets: tuple[tuple[str, int], ...] = ()
    why_not: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names once each, in order."""
        return tuple(dict.fromkeys(name for name, _ in self.sockets))

    def named(self, name: str) -> list[int]:
        """Return the descriptors of that name; of a number, the descriptor with it."""
        return [fd for other, fd in self.sockets if name in (other, str(fd))]


NONE = Activated()


def take(environ: MutableMapping[str, str]) -> Activated:
    """Take the sockets meant for this process, and the variables out of `environ`: no child is to take them again."""
    if "LISTEN_FDS" not in environ:
        return NONE
    if (meant := environ.get("LISTEN_PID", "")) != str(os.getpid()):
        return Activated(why_not=f"LISTEN_FDS is set, but for pid {meant or 'unknown'} and not for this process")
    told = {name: environ.pop(name, "") for name in _VARIABLES}
    count = int(told["LISTEN_FDS"]) if told["LISTEN_FDS"].isdecimal() else 0
    names = told["LISTEN_FDNAMES"].split(":") if told["LISTEN_FDNAMES"] else []
    sockets = []
    for index in range(min(count, 1024)):
        fd = _FIRST + index
        try:
            os.set_inheritable(fd, False)
        except OSError:
            continue
        sockets.append((names[index] if index < len(names) else "unknown", fd))
    return Activated(tuple(sockets))
