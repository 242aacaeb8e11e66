"""How many CPUs this process may really use: what `-w auto` means.

os.cpu_count() answers for the machine. A container on a 64-core host with a quota of two CPUs would start 64
workers and be killed for its memory, so affinity and the cgroup quota count here, whichever is smaller.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..core.record import record


@record
class CpuCount:
    """A number of CPUs, at least 1, and one phrase that says how it came about."""

    count: int
    why: str


def usable_cpus(
    proc_root: Path = Path("/proc"),
    cgroup_root: Path = Path("/sys/fs/cgroup"),
    *,
    affinity: int | None = None,
) -> CpuCount:
    """Return the number of CPUs this process may use: the smaller of affinity and cgroup quota, rounded up.

    The quota is the tightest of this process's cgroup and all above it, v2 (`cpu.max`) and v1
    (`cpu.cfs_quota_us`).
    affinity: CPUs the scheduler allows; None asks the kernel. Whatever cannot be read counts as no limit;
    never raises.
    Source: the kernel's admin-guide/cgroup-v2.rst and scheduler/sched-bwc.rst.
    """
    allowed = affinity if affinity is not None else _affinity()
    machine = os.cpu_count() or 1
    tightest = _tightest_quota(proc_root, cgroup_root)
    if tightest is not None:
        cpus, where = tightest
        # Rounded up: with a quota of 1.5 CPUs, one worker would leave a third of it unused.
        rounded = max(1, -int(-cpus // 1))
        if rounded < allowed:
            return CpuCount(rounded, f"cgroup quota of {cpus:g} CPUs ({where}), {allowed} by affinity")
    if affinity is None and allowed < machine:
        return CpuCount(max(1, allowed), f"affinity allows {allowed} of {machine} CPUs")
    why = f"{allowed} CPUs by affinity, " + ("no cgroup quota" if tightest is None else "within the cgroup quota")
    return CpuCount(max(1, allowed), why)


def _affinity() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # no such call outside Linux
        return os.cpu_count() or 1


def _tightest_quota(proc_root: Path, cgroup_root: Path) -> tuple[float, str] | None:
    """Return the smallest quota in CPUs from our cgroups up to their roots and where it stood, or None."""
    found: list[tuple[float, str]] = []
    for line in _text(proc_root / "self" / "cgroup").splitlines():
        # "hierarchy:controllers:path"; hierarchy 0 without controllers is v2.
        fields = line.split(":", 2)
        if len(fields) != 3:
            continue
        number, controllers, path = fields
        if number == "0" and not controllers:
            # v2 alone is mounted at the root, beside v1 ("hybrid") in `unified`.
            for mount in (cgroup_root, cgroup_root / "unified"):
                found += [(cpus, str(folder)) for folder in _upwards(mount, path) if (cpus := _quota_v2(folder))]
        elif "cpu" in controllers.split(","):
            for mount in (cgroup_root / controllers, cgroup_root / "cpu"):
                found += [(cpus, str(folder)) for folder in _upwards(mount, path) if (cpus := _quota_v1(folder))]
    return min(found, default=None)


def _upwards(mount: Path, path: str) -> list[Path]:
    """Return the folders of cgroup `path` and its parents, ending with the mount itself.

    In a container without a cgroup namespace of its own the path is the host's, while the mount shows only
    our part: the longer folders are then missing, and the mount, tried last, is our cgroup. ".." leads out of
    our view.
    """
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    return [mount.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]


def _quota_v2(folder: Path) -> float | None:
    fields = _text(folder / "cpu.max").split()
    return _ratio(fields[0], fields[1]) if len(fields) == 2 else None


def _quota_v1(folder: Path) -> float | None:
    return _ratio(_text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us"))


def _ratio(quota: str, period: str) -> float | None:
    try:
        cpus = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # "max", or the file is not there
        return None
    return cpus if cpus > 0 else None  # v1 says -1 for no limit


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except (OSError, ValueError):
        return ""
