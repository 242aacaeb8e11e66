"""`usage`: what the kernel counts, beside what psutil makes of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil
import pytest

from aeros.status.usage import pss_bytes, rss_bytes, usage
from tests.helpers.conditions import eventually


def test_it_is_what_psutil_says() -> None:
    hoard = bytes(20 << 20)
    before = usage(os.getpid())
    until = time.thread_time() + 0.2
    while time.thread_time() < until:
        pass
    after, process = usage(os.getpid()), psutil.Process()
    assert before is not None and after is not None
    assert 0.15 <= after.cpu_s - before.cpu_s <= 5
    times = process.cpu_times()
    assert after.cpu_s == pytest.approx(times.user + times.system, abs=0.1)
    assert after.rss_bytes > len(hoard)
    assert after.rss_bytes == pytest.approx(process.memory_info().rss, rel=0.2)
    assert after.began == before.began and after.age_s > before.age_s
    assert after.age_s == pytest.approx(time.time() - process.create_time(), abs=2)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_the_share_of_memory() -> None:
    share = pss_bytes(os.getpid())
    assert share is not None and 1 << 20 < share <= rss_bytes(os.getpid()) * 1.1


def test_who_is_gone_uses_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.DEVNULL) as child:
        # A zombie, until it is waited for.
        assert eventually(lambda: usage(child.pid) is None, 10)
        assert rss_bytes(child.pid) == 0
    assert (usage(child.pid), rss_bytes(child.pid), pss_bytes(child.pid)) == (None, 0, None)
