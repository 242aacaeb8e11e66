"""Readings of Linux's /proc: who belongs to a server's family, and what its processes hold."""

from __future__ import annotations

import os
import signal
from pathlib import Path

#: In the environment of every program a test starts, and so of each descendant, orphaned or not.
MARKER = "TEST_FAMILY"


def all_pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def _stat_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the command name, which may itself hold spaces and brackets."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def state(pid: int) -> str | None:
    """One letter (R, S, T, Z, …), or None when there is no such process."""
    try:
        return _stat_fields(pid)[0]
    except (OSError, IndexError):
        return None


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie has ended."""
    return state(pid) not in (None, "Z", "X")


def parent(pid: int) -> int | None:
    try:
        return int(_stat_fields(pid)[1])
    except (OSError, IndexError):
        return None


def children(pid: int) -> list[int]:
    return [other for other in all_pids() if parent(other) == pid]


def family(marker: str) -> set[int]:
    """Every live process that carries this marker, however it came to be orphaned."""
    wanted = f"{MARKER}={marker}".encode()
    found = set()
    for pid in all_pids():
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue
        if wanted in environment.split(b"\0") and alive(pid):
            found.add(pid)
    return found


def zombies(of: set[int]) -> set[int]:
    """Ended processes which a member of the family has not reaped."""
    return {pid for pid in all_pids() if state(pid) == "Z" and parent(pid) in of}


def kill_all(pids: set[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def open_fds(pid: int | str = "self") -> dict[int, str]:
    """Descriptor → what it leads to. The one used for the listing itself is left out."""
    found = {}
    for entry in os.listdir(f"/proc/{pid}/fd"):
        try:
            found[int(entry)] = str(Path(f"/proc/{pid}/fd/{entry}").readlink())
        except OSError:
            continue
    return found


def thread_count(pid: int | str = "self") -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


def pss_bytes(pids: set[int]) -> int:
    """Proportional set size of them all: memory shared between them is counted once."""
    total = 0
    for pid in pids:
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))
    return total


def rss_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def rss_of_files(pid: int) -> int:
    """Of the resident bytes, those of programs and libraries that nobody has written to."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssFile:"))


def cpu_ticks(pid: int) -> int:
    """CPU time of the process, user and system, in hundredths of a second."""
    fields = _stat_fields(pid)
    return (int(fields[11]) + int(fields[12])) * 100 // os.sysconf("SC_CLK_TCK")


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return "(gone)"
