"""HTTP/2 clients that mean harm, beside those of test_hostile."""

from __future__ import annotations

import time

import pytest
from hyperframe.frame import SettingsFrame, WindowUpdateFrame

from tests.conftest import Serve
from tests.helpers.conditions import eventually
from tests.helpers.figures import Report

from .test_hostile import MIB, PREFACE, closed, connect, push, siege, start

FLOODS = {
    "WINDOW_UPDATE": WindowUpdateFrame(0, window_increment=1).serialize() * 200_000,
    "frames of 16 MB": (b"\xff\xff\xff\x16\0\0\0\0\0" + bytes((1 << 24) - 1)) * 2,
}


@pytest.mark.parametrize("what", FLOODS)
def test_more_floods(serve: Serve, report: Report, what: str) -> None:
    server = start(serve)
    data = PREFACE + SettingsFrame(0).serialize() + FLOODS[what]
    with siege(server, report, 25 * MIB), connect(server) as sock:
        begun = time.monotonic()
        push(sock, data)
        eventually(lambda: closed(sock), 10.0)
        report.note(f"{what}: {len(data) / 1e6:.1f} MB, ended after {time.monotonic() - begun:.1f} s")
