"""`core.memory.collector`: nothing is looked through while it is made, and the host's collector is as it was."""

from __future__ import annotations

import sys
import textwrap

import pytest

from tests.helpers.child import goes_well

WHAT_IS_MADE = """
    import gc
    from aeros.core.memory.collector import paused

    def runs():
        return sum(generation["collections"] for generation in gc.get_stats())

    before = runs()
    with paused():
        assert not gc.isenabled()
        made = [[] for _ in range(50_000)]
        assert runs() == before
    assert gc.isenabled()
    # Whoever collects by hand goes on doing so.
    gc.disable()
    with paused():
        pass
    assert not gc.isenabled()
    print("well")
"""

A_HOST = """
    import atexit, gc
    seen = gc.get_freeze_count(), list(gc.callbacks), gc.get_threshold()
    mine = [[] for _ in range(10_000)]
    import aeros
    app = aeros.WebServer(__name__)
    assert (gc.get_freeze_count(), gc.callbacks, gc.get_threshold()) == seen
    assert {id(thing) for thing in gc.get_objects()} >= set(map(id, mine)), "the host's objects are its collector's"
    print("well")
"""


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="other collectors have no generations")
@pytest.mark.parametrize("program", [WHAT_IS_MADE, A_HOST], ids=["made", "a host"])
def test_the_collector_is_out_of_the_way(program: str) -> None:
    goes_well(textwrap.dedent(program))
