"""`-w auto`: affinity and cgroup quotas, on trees made for the test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aeros.options import resolve, usable_cpus

HOST = "/docker/4f1d"


class Machine:
    """A /proc and a /sys/fs/cgroup to write into."""

    def __init__(self, folder: Path) -> None:
        self.proc = folder / "proc"
        self.cgroup = folder / "cgroup"
        self.write(self.proc / "self" / "cgroup", "")

    def write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def be_in(self, *lines: str) -> None:
        self.write(self.proc / "self" / "cgroup", "\n".join(lines) + "\n")

    def v2(self, path: str, limit: str, mount: str = "") -> None:
        self.write(self.cgroup / mount / path.strip("/") / "cpu.max", limit + "\n")

    def v1(self, path: str, quota: int, period: int = 100_000, mount: str = "cpu,cpuacct") -> None:
        folder = self.cgroup / mount / path.strip("/")
        self.write(folder / "cpu.cfs_quota_us", f"{quota}\n")
        self.write(folder / "cpu.cfs_period_us", f"{period}\n")

    def cpus(self, affinity: int = 64) -> int:
        return usable_cpus(self.proc, self.cgroup, affinity=affinity).count


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_without_cgroups_affinity_counts(machine: Machine) -> None:
    assert machine.cpus(3) == 3


def test_without_proc_affinity_counts(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path / "no", tmp_path / "no", affinity=3).count == 3


@pytest.mark.parametrize(
    ("limit", "count"),
    [
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("10000 100000", 1),
        ("max 100000", 64),
        ("9900000 100000", 64),
        ("", 64),
        ("junk junk", 64),
        ("100000 0", 64),
    ],
)
def test_v2_quota_in_a_container(machine: Machine, limit: str, count: int) -> None:
    machine.be_in("0::/")
    machine.v2("/", limit)
    assert machine.cpus() == count


def test_v2_the_tightest_on_the_way_up_counts(machine: Machine) -> None:
    machine.be_in("0::/system.slice/web.service/worker")
    machine.v2("/system.slice/web.service/worker", "800000 100000")
    machine.v2("/system.slice/web.service", "max 100000")
    machine.v2("/system.slice", "300000 100000")
    assert machine.cpus() == 3


def test_v2_another_groups_quota_does_not_count(machine: Machine) -> None:
    machine.be_in("0::/system.slice/web.service")
    machine.v2("/system.slice/other.service", "100000 100000")
    assert machine.cpus() == 64


def test_v2_a_path_above_our_view(machine: Machine) -> None:
    machine.be_in("0::/../../other")
    machine.v2("/", "200000 100000")
    assert machine.cpus() == 2


@pytest.mark.parametrize("mount", ["cpu,cpuacct", "cpu"])
def test_v1_quota(machine: Machine, mount: str) -> None:
    machine.be_in("5:memory:/other", f"4:cpu,cpuacct:{HOST}")
    machine.v1(HOST, 250_000, mount=mount)
    assert machine.cpus() == 3


def test_v1_host_path_under_the_containers_mount(machine: Machine) -> None:
    machine.be_in(f"4:cpu,cpuacct:{HOST}")
    machine.v1("/", 400_000, 200_000)
    assert machine.cpus() == 2


def test_v1_minus_one_is_no_limit(machine: Machine) -> None:
    machine.be_in("1:cpu:/")
    machine.v1("/", -1, mount="cpu")
    assert machine.cpus(7) == 7


def test_hybrid_v1_beside_v2(machine: Machine) -> None:
    machine.be_in("1:cpu:/a", "0::/a")
    machine.v1("/a", 500_000, mount="cpu")
    machine.v2("/a", "400000 100000", mount="unified")
    assert machine.cpus() == 4


def test_garbage_in_proc(machine: Machine) -> None:
    machine.be_in("", "::", "nonsense", "0:cpu", "\0")
    assert machine.cpus(2) == 2


def test_the_reason_names_what_decided(machine: Machine) -> None:
    machine.be_in("0::/")
    assert "no cgroup quota" in usable_cpus(machine.proc, machine.cgroup, affinity=4).why
    machine.v2("/", "150000 100000")
    why = usable_cpus(machine.proc, machine.cgroup, affinity=4).why
    assert "1.5 CPUs" in why
    assert str(machine.cgroup) in why
    assert "within the cgroup quota" in usable_cpus(machine.proc, machine.cgroup, affinity=1).why


def test_real_machine_and_auto() -> None:
    real = usable_cpus()
    assert 1 <= real.count <= (os.cpu_count() or 1)
    options = resolve("-w auto", environ={})
    assert options.workers == real.count
    assert options.sources["workers"] == f"argument, auto: {real.why}"
