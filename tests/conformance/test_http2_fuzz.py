"""HTTP/2 of the lane against frames nobody would send: it answers or closes, loses no credit, and never raises."""

from __future__ import annotations

import pytest
from http2_fuzzing import HTTP2Fuzzer, conversations
from hypothesis import HealthCheck, given, settings
from lane_server import run


def _check(parts: list[bytes]) -> None:
    async def check() -> None:
        async with HTTP2Fuzzer() as fuzzer:
            await fuzzer.feed(parts)

    run(check())


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(conversations())
def test_fuzz(parts: list[bytes]) -> None:
    _check(parts)


@pytest.mark.slow
@pytest.mark.limit_s(900)
@settings(max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(conversations())
def test_fuzz_for_long(parts: list[bytes]) -> None:
    _check(parts)
