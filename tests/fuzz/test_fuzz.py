"""Each target with its corpus and some hundred mutations; `scripts/fuzz` runs them for as long as one likes."""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .corpus import kept, mutated
from .targets import BY_NAME

#: Mutations of each; those of a played supervisor and of a real server take longer.
CASES = {"lane": 150, "messages": 200, "supervisor": 10, "control": 20, "options": 100, "proxy": 100}


@pytest.mark.parametrize("name", [*CASES, "control-socket", "admin"])
def test_what_is_kept(name: str) -> None:
    with BY_NAME[name]() as target:
        for case in [*kept(name), *(target.seeds() if name in ("lane", "messages", "proxy") else [])]:
            target.feed(case)


@pytest.mark.parametrize("name", CASES)
def test_mutations(name: str) -> None:
    with BY_NAME[name]() as target:
        seeds = [*target.seeds(), *kept(name)]

        @settings(max_examples=CASES[name], deadline=None)
        @given(st.integers(0, 2**64))
        def feed(seed: int) -> None:
            target.feed(mutated(random.Random(seed), seeds, target.splices))

        feed()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a server whose app is nobody's")
@pytest.mark.limit_s(180)
def test_a_hostile_family() -> None:
    with BY_NAME["family"]() as target:
        seeds, chance = target.seeds(), random.Random(4)
        for case in [*kept("family"), *(mutated(chance, seeds, target.splices) for _ in range(8))]:
            target.feed(case)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["control-socket", "admin"])
def test_mutations_for_a_real_server(name: str) -> None:
    with BY_NAME[name]() as target:
        seeds, chance = target.seeds(), random.Random(1)
        for _ in range(1000):
            target.feed(mutated(chance, seeds, target.splices))
