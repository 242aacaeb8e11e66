"""`core.collector`: nothing is looked through while it is made, nor right after."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
    import gc, sys
    from aeros.core.collector import paused

    class Node:
        pass

    def cycle():
        node = Node()
        node.self = node

    def runs():
        return sum(generation["collections"] for generation in gc.get_stats())

    before = runs()
    with paused():
        assert not gc.isenabled()
        made = [Node() for _ in range(50_000)]
        cycle()
    assert gc.isenabled() and runs() == before
    young = {id(thing) for generation in (0, 1) for thing in gc.get_objects(generation)}
    assert not young & set(map(id, made)), "what was made would be looked through by the next collection"
    # What is old is not forgotten: a full collection finds it.
    assert any(type(thing) is Node and hasattr(thing, "self") for thing in gc.get_objects())
    gc.collect()
    assert not any(type(thing) is Node and hasattr(thing, "self") for thing in gc.get_objects())

    # Whoever collects by hand goes on doing so, and what was frozen stays frozen.
    gc.disable()
    with paused():
        pass
    assert not gc.isenabled()
    gc.enable()
    gc.freeze()
    frozen = gc.get_freeze_count()
    with paused():
        pass
    assert gc.get_freeze_count() >= frozen - 100, (gc.get_freeze_count(), frozen)
    print("well")
"""


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="other collectors have no generations")
def test_the_collector_is_out_of_the_way() -> None:
    child = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM)], check=False, capture_output=True, text=True, timeout=60
    )
    assert (child.returncode, child.stdout, child.stderr) == (0, "well\n", "")
