"""What a process hands on to those it starts, beside environment and directory: priority, masks and limits.

A program that is run again is to have them as the first run had them, and not as that has changed them: os.nice() adds
up, and a limit that was lowered stays low. Read when Aeros is imported, as `core.origin` is.
"""

from __future__ import annotations

import os
import resource
import signal
from typing import Any

_LIMITS = sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})


def _read() -> dict[str, Any]:
    found: dict[str, Any] = {
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "umask": _umask(),
        "limits": [[number, *resource.getrlimit(number)] for number in _LIMITS],
    }
    if hasattr(os, "sched_getaffinity"):
        found["cpus"] = sorted(os.sched_getaffinity(0))
    return found


def _umask() -> int | None:
    """Return the umask, None where only setting it would tell: a thread might make a file meanwhile."""
    try:
        with open("/proc/self/status", "rb") as status:  # noqa: PTH123 - pathlib is not imported yet
            return next((int(line.split()[1], 8) for line in status if line.startswith(b"Umask:")), None)
    except OSError:
        return None


_at_start = _read()
_blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
_ignored = {number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN}


def changed_by_program() -> dict[str, Any]:
    """Return what is not as at the start any more, as it was then.

    To be asked when the program has done its part: what an operator does to the server later, with renice or prlimit,
    is meant for those it starts as well.
    """
    now = _read()
    changed = {name: value for name, value in _at_start.items() if value != now[name]}
    if "limits" in changed:
        changed["limits"] = [
            before for before, after in zip(changed["limits"], now["limits"], strict=True) if before != after
        ]
    return changed


def blocked_at_start() -> set[int]:
    """Return the signals that were blocked."""
    return set(_blocked)


def not_ignored_at_start() -> list[int]:
    """Return the signals whose default a program that is started gets; the others stay as they are."""
    return sorted(signal.valid_signals() - _ignored - {signal.SIGKILL, signal.SIGSTOP})
