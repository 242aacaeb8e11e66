"""The lane against bytes nobody would send: it answers or closes, keeps no memory, and never raises."""

from __future__ import annotations

from fuzzing import SEEDS, Fuzzer, mutations
from hypothesis import given, settings
from lane_server import run


def test_the_seeds() -> None:
    async def check() -> None:
        async with Fuzzer() as fuzzer:
            for seed in SEEDS:
                await fuzzer.feed([seed])

    run(check())


@settings(max_examples=150, deadline=None)
@given(mutations())
def test_fuzz(parts: list[bytes]) -> None:
    async def check() -> None:
        async with Fuzzer() as fuzzer:
            await fuzzer.feed(parts)

    run(check())
