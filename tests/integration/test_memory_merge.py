"""`--memory-merge`: the kernel may keep equal pages of the family once. Where it does, is the kernel's affair (KSM)."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..conftest import Serve

pytestmark = pytest.mark.skipif(
    not Path("/sys/kernel/mm/ksm/run").exists(), reason="this kernel has no KSM, so there is nothing it could merge"
)

APP = """
import sys
from aeros import WebServer

app = WebServer(__name__)
app.start(sys.argv[1:])
"""


def mergeable(pid: int) -> bool:
    flags = [line for line in Path(f"/proc/{pid}/smaps").read_text().splitlines() if line.startswith("VmFlags:")]
    return any("mg" in line.split() for line in flags)


def test_the_whole_family_is_mergeable_also_after_a_reload(serve: Serve) -> None:
    server = serve(APP, "-w", "2", "--memory-merge").ready(2)
    server.expect("--memory-merge: the kernel does not merge memory yet")
    before = server.ready_pids()
    assert all(mergeable(pid) for pid in server.family)
    server.handle().reload(timeout=30)
    assert not before & server.ready_pids()
    assert all(mergeable(pid) for pid in server.ready_pids())


def test_without_it_nothing_is(serve: Serve) -> None:
    server = serve(APP, "-w", "1").ready(1)
    assert not any(mergeable(pid) for pid in server.family)


def test_a_kernel_that_merges_nothing_is_said_once(serve: Serve) -> None:
    server = serve(APP, "-w", "1", "--memory-merge").ready(1)
    server.expect("--memory-merge")
    running = Path("/sys/kernel/mm/ksm/run").read_text().strip() == "1"
    assert server.log.count("echo 1 > /sys/kernel/mm/ksm/run") == (0 if running else 1)
