"""What the kernel says of a family of processes: who belongs to it, its memory, its CPU time, its wake-ups."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


@dataclass(frozen=True)
class Memory:
    """Kilobytes. pss shares out what several processes map; anonymous is the part of it no file stands behind; private
    is what nobody else maps."""

    pss: int
    anonymous: int
    private: int

    def __add__(self, other: Memory) -> Memory:
        return Memory(self.pss + other.pss, self.anonymous + other.anonymous, self.private + other.private)


def parse_rollup(text: str) -> Memory:
    """Read the text of /proc/PID/smaps_rollup."""
    fields = dict(line.split(":", 1) for line in text.splitlines()[1:] if ":" in line)
    kilobytes = {name: int(value.split()[0]) for name, value in fields.items()}
    private = kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]
    return Memory(kilobytes["Pss"], kilobytes["Pss_Anon"], private)


def parse_stat(text: str) -> tuple[int, int]:
    """Return the parent's pid and the CPU ticks, user and system, from the text of /proc/PID/stat."""
    fields = text.rpartition(")")[2].split()
    return int(fields[1]), int(fields[11]) + int(fields[12])


def parse_switches(text: str) -> int:
    """Return how often the process gave the CPU up to wait, from the text of /proc/PID/status."""
    for line in text.splitlines():
        if line.startswith("voluntary_ctxt_switches:"):
            return int(line.split()[1])
    raise ValueError("no voluntary_ctxt_switches in the status")


def family(root: int) -> list[int]:
    """Return `root` and all its descendants, oldest first."""
    children: dict[int, list[int]] = {}
    for pid, text in _stats():
        children.setdefault(parse_stat(text)[0], []).append(pid)
    found = [root]
    for pid in found:
        found.extend(sorted(children.get(pid, ())))
    return found


def _stats() -> Iterator[tuple[int, str]]:
    for entry in os.scandir(_PROC):
        if entry.name.isdigit():
            with suppress(OSError):  # it ended meanwhile
                yield int(entry.name), (_PROC / entry.name / "stat").read_text()


def memory(pids: Iterable[int]) -> Memory:
    """Return the memory of these processes together."""
    total = Memory(0, 0, 0)
    for pid in pids:
        with suppress(OSError):
            total += parse_rollup((_PROC / str(pid) / "smaps_rollup").read_text())
    return total


def cpu_s(pids: Iterable[int]) -> float:
    """Return the CPU seconds these processes have used, user and system."""
    ticks = 0
    for pid in pids:
        with suppress(OSError):
            ticks += parse_stat((_PROC / str(pid) / "stat").read_text())[1]
    return ticks * _TICK_S


def switches(pid: int) -> int:
    """Return how often this process has gone to sleep."""
    return parse_switches((_PROC / str(pid) / "status").read_text())


def run_s(pid: int) -> float:
    """Return the CPU seconds of one single-threaded process to the nanosecond."""
    return int((_PROC / str(pid) / "schedstat").read_text().split()[0]) / 1e9


def session(pid: int) -> int:
    """Return the session a process is in, 0 when it has ended."""
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


def members(session_id: int) -> list[int]:
    """Return all processes of a session."""
    return [pid for pid, text in _stats() if int(text.rpartition(")")[2].split()[3]) == session_id]
