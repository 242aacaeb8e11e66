"""Workers forked from one process must not draw the same numbers."""

from __future__ import annotations

import importlib.util

import pytest

from tests.apps import source_of
from tests.conftest import Serve
from tests.helpers.conditions import eventually


@pytest.mark.parametrize("module", ["random", "numpy"])
def test_each_worker_draws_its_own_numbers(serve: Serve, module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    seeded = {"random": "random.seed(7)\n", "numpy": "import numpy\nnumpy.random.seed(7)\n"}[module]
    text = source_of("full").replace('note("imported")\n', 'note("imported")\n' + seeded)
    server = serve(text, "-w", "3").ready(3)
    drawn: dict[int, float] = {}

    def all_three() -> bool:
        answer = server.get("/random").json()
        drawn.setdefault(answer["pid"], answer[module])
        return len(drawn) == 3

    eventually(all_three)
    assert len(set(drawn.values())) == 3, drawn
    assert server.stop() == 0
