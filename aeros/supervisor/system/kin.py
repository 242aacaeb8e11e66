"""Who a process is: what a zygote says of a pid, compared with what the system says.

The supervisor signals processes, maybe as root, and who names them runs code of the app's. So it believes a pid only
if the process is there and descends from whoever named it. What the system does not tell counts as no.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable

from ...core.ipc.messages import ProtocolError
from ...core.process.signalling import open_pidfd
from ...core.record import record

#: What a pidfd says of a process that has ended and been reaped.
REAPED = -1


@record
class Kin:
    """What came of a pid. there: the process is below the one that named it, and is meant by `pidfd` where the system
    has pidfds. Not there: it has ended and been reaped, and nothing more can be said of it."""

    there: bool
    pidfd: int | None = None


def recognise(
    pid: int,
    told: int | None,
    teller: int,
    teller_pidfd: int | None,
    *,
    strict: bool,
    open_pidfd: Callable[[int], int | None] = open_pidfd,
) -> Kin:
    """Return what becomes of the word of process `teller` that `pid` is a child of its.

    told: the pidfd that came along, which is the caller's to close where it is not in the answer. strict: the teller
    runs as another user than we do, so that what nobody can look up is not believed. Raises ProtocolError for a lie.
    """
    meant = pid_of_pidfd(told) if told is not None else None
    unclear = meant is None and not strict
    if told is not None and meant not in (pid, REAPED) and not unclear:
        raise ProtocolError(f"it speaks of process {pid}, and its descriptor does not mean that process")
    pidfd = told if told is not None else open_pidfd(pid)
    # In this order: from here on the descriptor means that process, whoever gets its number later.
    descends = descends_from(pid, teller)
    if descends or (descends is None and not strict and meant != REAPED and not _is_gone(pid)):
        return Kin(True, pidfd)
    if pidfd is not None and pidfd != told:
        os.close(pidfd)
    if meant == REAPED or _is_gone(pid) or has_ended(teller, teller_pidfd):
        # Reaped, which the teller will say next; or the teller is gone, and what it left is not its any more.
        return Kin(False)
    raise ProtocolError(f"it says that process {pid} is its child, which is not so")


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def pid_of_pidfd(fd: int) -> int | None:
    """Return the process that a pidfd means, REAPED once that is gone for good, 0 for a descriptor that is no pidfd;
    None where the system does not tell."""
    try:
        with open(f"/proc/self/fdinfo/{fd}", "rb") as facts:  # noqa: PTH123
            return next((int(line[4:]) for line in facts if line.startswith(b"Pid:")), 0)
    except (OSError, ValueError):
        return None


def descends_from(pid: int, ancestor: int) -> bool | None:
    """Return whether `pid` is a child of process `ancestor`, or a child's child and so on; None: nobody can tell."""
    try:
        while pid > 1:
            pid = _parent(pid)
            if pid == ancestor:
                return True
    except (OSError, IndexError, ValueError):
        return None
    return False


def _parent(pid: int) -> int:
    if sys.platform == "linux":
        with open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123
            return int(stat.read().rpartition(b")")[2].split()[1])
    import psutil

    try:
        return int(psutil.Process(pid).ppid())
    except psutil.Error as error:
        raise OSError(str(error)) from None


def has_ended(pid: int, pidfd: int | None) -> bool:
    """Return whether the process has ended, be it reaped or still a zombie that its parent has not looked at."""
    if pidfd is not None:
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        return bool(poller.poll(0))
    import psutil

    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return True
