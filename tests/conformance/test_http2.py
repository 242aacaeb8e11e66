"""The HTTP/2 path against tests/helpers/h2cases.py: raw frames to a real server, and what comes back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import Serve
from tests.helpers.figures import Report
from tests.helpers.h2cases import CASES, KNOWN, accepted, outcome


@pytest.mark.parametrize("path", ["lane", pytest.param("hypercorn", marks=pytest.mark.slow)])
def test_every_case(serve: Serve, report: Report, path: str) -> None:
    server = serve("full", "-w", "1", "--http", path).ready()
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda case: outcome(server.address, case), CASES))
    wrong = [
        f"{case.section} {case.what}: {what}, not {accepted(case)}"
        for case, what in zip(CASES, found, strict=True)
        if what not in accepted(case) and (path == "lane" or what != KNOWN.get(case.what))  # the lane has no excuses
    ]
    assert not wrong, "\n".join(wrong)
    assert server.get().status == 200
    right = sum(what in accepted(case) for case, what in zip(CASES, found, strict=True))
    report.note(f"{right} of {len(CASES)} cases as RFC 9113 and RFC 7541 have it")
