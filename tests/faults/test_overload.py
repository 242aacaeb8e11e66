"""Five times the capacity asked of a server: what `scripts/overload` measures, held."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.helpers.figures import Report

from .overload import APP, SCENARIOS, measure


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
@pytest.mark.parametrize("name", SCENARIOS)
def test_five_times_the_capacity(serve: Serve, report: Report, tmp_path: Path, name: str) -> None:
    first, second, *_ = sorted(os.sched_getaffinity(0))
    scenario = SCENARIOS[name]
    (tmp_path / "app.py").write_text(APP)
    argv = [sys.executable, "app.py", "-b", "127.0.0.1:0", "-w", "1", *scenario.options]
    server = serve(argv=argv, preexec=lambda: os.sched_setaffinity(0, {first})).ready()
    result = measure(server, scenario, 4.0, 5.0, second)
    report.note(f"{scenario.what}: goodput {result.goodput / result.capacity:.0%} of {result.capacity:.0f}/s")
    report.note(f"p50 {result.p50 * 1000:.1f} ms, idle {result.alone_p50 * 1000:.1f} ms")
    report.note(f"memory {result.grown / 1e6:+.1f} MB")
    assert not result.problems
