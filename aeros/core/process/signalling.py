"""What a process of the family does to itself and to others: parent-death, sub-reaping, exact signalling."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterable

from ..text import one_line

_PR_SET_PDEATHSIG = 1
_PR_GET_PDEATHSIG = 2
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38

#: Dumps the stacks of a worker's threads (see `worker.autopsy`). A real-time signal where there are any, since
#: apps use the two user signals.
DUMP_SIGNAL = getattr(signal, "SIGRTMAX", signal.SIGUSR2) - 3 if hasattr(signal, "SIGRTMAX") else signal.SIGUSR2

#: Asks a worker for a report of its own (see `worker.autopsy`).
STACK_SIGNAL = DUMP_SIGNAL - 1 if hasattr(signal, "SIGRTMAX") else signal.SIGUSR1


#: What the family's processes answer themselves; all other signals are the app's.
FAMILY_SIGNALS = (
    *(signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT, signal.SIGCHLD, signal.SIGIO),
    *(DUMP_SIGNAL, STACK_SIGNAL),
)
#: The supervisor has a meaning for them, zygotes and workers have none. Not those that are the family's on macOS.
USER_SIGNALS = tuple({signal.SIGUSR1, signal.SIGUSR2} - {DUMP_SIGNAL, STACK_SIGNAL})


def fork() -> int:
    """os.fork without CPython's warning about threads: the start has named them already (see `startup`)."""
    with warnings.catch_warnings():
        # As an error the warning would be raised in the parent with the child already running.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def become_subreaper(on: bool = True) -> bool:
    """Make orphans of the family children of this process, so that it can reap them. Linux; else False."""
    return _prctl(_PR_SET_CHILD_SUBREAPER, int(on))


def die_with_parent(signum: int) -> bool:
    """Have the kernel send `signum` when the thread that made this process ends; 0 turns it off. Linux only."""
    return _prctl(_PR_SET_PDEATHSIG, signum)


def parent_death_signal() -> int:
    """Return the signal that `die_with_parent` has asked for, 0 if none."""
    if sys.platform != "linux":
        return 0
    import ctypes

    number = ctypes.c_int(0)
    ctypes.CDLL(None).prctl(_PR_GET_PDEATHSIG, ctypes.byref(number), 0, 0, 0)
    return number.value


def forbid_new_privileges() -> bool:
    """Let no program that this process runs, nor its children, gain rights by setuid bits. Linux only."""
    return _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def blank_variables(names: Iterable[str]) -> None:
    """Write stars over the values of these variables where /proc/PID/environ shows them. Linux only.

    That is the block the kernel laid when the program was executed; `os.environ` only points into it, and must have
    let go of them before.
    """
    if sys.platform != "linux":
        return
    import ctypes

    with open("/proc/self/stat", "rb") as file:  # noqa: PTH123
        fields = file.read().rpartition(b")")[2].split()
    start, end = int(fields[47]), int(fields[48])  # env_start and env_end, see proc(5)
    block = ctypes.string_at(start, end - start) if start else b""
    for name in names:
        wanted, at = os.fsencode(name) + b"=", 0
        for entry in block.split(b"\0"):
            if entry.startswith(wanted):
                ctypes.memset(start + at + len(wanted), ord("*"), len(entry) - len(wanted))
            at += len(entry) + 1


def _prctl(option: int, value: int) -> bool:
    if sys.platform != "linux":
        return False
    import ctypes

    try:
        return bool(ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False


def open_pidfd(pid: int) -> int | None:
    """Return a descriptor that means this process and never a later one of the same number; None where unknown."""
    try:
        return os.pidfd_open(pid)  # type: ignore[attr-defined,unused-ignore]
    except (AttributeError, OSError):
        return None


def send_signal(pid: int, pidfd: int | None, signum: int) -> bool:
    """Signal exactly that process. False when it is gone already."""
    try:
        if pidfd is not None:
            signal.pidfd_send_signal(pidfd, signum)  # type: ignore[attr-defined,unused-ignore]
        else:
            os.kill(pid, signum)
    except ProcessLookupError:
        return False
    return True


def working_directory(pid: int) -> str:
    """Return where process `pid` stands, for a log line; "" where the system does not say it."""
    try:
        found = os.readlink(f"/proc/{pid}/cwd")  # noqa: PTH115
    except OSError:
        return ""
    return one_line(found)


def children_of(pid: int) -> list[int]:
    """Return the pids of its children, without what they have started. Raises OSError where the system does not say."""
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
        with open(f"/proc/{pid}/task/{task}/children", "rb") as file:  # noqa: PTH123
            found += [int(child) for child in file.read().split()]
    return found


def descendants(pid: int) -> list[int]:
    """Return the pids of all that it has started, as far as the system says."""
    found = [pid]
    for one in found:  # which grows
        with contextlib.suppress(OSError):
            found += children_of(one)
    return found[1:]


def reap(pid: int, *, with_group: bool = False, say: Callable[[str], None] | None = None) -> int | None:
    """Return the wait status of child `pid` if it has ended, else None. Raises ChildProcessError if not a child.

    with_group: also kill what is left of the process group it led. That is done while the dead leader still
    holds the number, so it can hit nobody else. say: told which processes these are, where there are any.
    """
    if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        return None
    if with_group:
        if say is not None and (left := _left_in_group(pid)):
            say(", ".join(left))
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


def _left_in_group(group: int) -> list[str]:
    """Return name and pid of each live process of the group, as far as /proc shows them."""
    found = []
    with contextlib.suppress(OSError):
        for entry in filter(str.isdecimal, os.listdir("/proc")):  # noqa: PTH208
            with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{entry}/stat", "rb") as file:  # noqa: PTH123
                head, _, tail = file.read().rpartition(b")")
                state, _, pgrp = tail.split()[:3]
                if int(pgrp) == group and state not in (b"Z", b"X"):
                    name = head.partition(b"(")[2].decode(errors="replace")
                    found.append(f"{one_line(name)} (pid {entry})")
    return found


def describe_exit(status: int) -> str:
    """Return how a process ended, from its wait status: "exit code 3", "SIGSEGV", "SIGABRT (core dumped)"."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        return name + (" (core dumped)" if os.WCOREDUMP(status) else "")
    return f"exit code {os.WEXITSTATUS(status)}"


def reset_signals(numbers: Iterable[int] = ()) -> None:
    """Give `numbers`, or every signal, its default again, and unblock them."""
    # SIGPIPE and SIGXFSZ stay ignored: Python turns them into exceptions.
    keep = {signal.SIGPIPE, getattr(signal, "SIGXFSZ", signal.SIGPIPE), signal.SIGKILL, signal.SIGSTOP}
    chosen = set(numbers) or signal.valid_signals()
    with contextlib.suppress(ValueError):
        signal.set_wakeup_fd(-1)
    for number in chosen:
        if number not in keep:
            with contextlib.suppress(OSError, ValueError, TypeError):
                if signal.getsignal(number) is not signal.SIG_DFL:
                    signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, chosen)


def end_when_first(number: int = signal.SIGTERM) -> None:
    """Have the first process of a container end at `number`, also before it is a server.

    The kernel gives it no signal that it has no handler for (pid_namespaces(7)), so that one sent while the app is
    imported would be lost. What has a handler keeps it.
    """
    if os.getpid() == 1 and signal.getsignal(number) is signal.SIG_DFL:
        with contextlib.suppress(ValueError):  # not the main thread
            signal.signal(number, _end)


def _end(signum: int, frame: object) -> None:
    if os.getpid() == 1:
        os._exit(128 + signum)
    # A child that was forked meanwhile: as if there had been no handler.
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)


def ignore_politely(numbers: Iterable[int]) -> None:
    """Let `numbers` do nothing here, without children of ours inheriting SIG_IGN through exec."""
    for number in numbers:
        signal.signal(number, _do_nothing)


def leave_to_the_app(numbers: Iterable[int]) -> None:
    """Unblock `numbers` and leave them as the program wants them; those it says nothing of do nothing."""
    caught = _caught_in_c()
    ignore_politely(n for n in numbers if signal.getsignal(n) is signal.SIG_DFL and not caught >> (n - 1) & 1)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


def _caught_in_c() -> int:
    """Return a mask of the signals that have any handler: faulthandler.register() sets its own past Python's back."""
    with contextlib.suppress(OSError), open("/proc/self/status", "rb") as status:  # noqa: PTH123
        for line in status:
            if line.startswith(b"SigCgt:"):
                return int(line.split()[1], 16)
    return 0


def _do_nothing(signum: int, frame: object) -> None:
    """A handler is reset by exec; SIG_IGN would not be."""


def is_alive(pid: int) -> bool:
    """Return whether there is such a process, of whatever user, that has not ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        # A zombie has ended; it only waits to be reaped by somebody else.
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True
