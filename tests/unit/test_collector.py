"""`core.collector`: nothing is looked through while it is made, nor afterwards until a full collection is due."""

from __future__ import annotations

import sys
import textwrap

import pytest

from tests.helpers.child import goes_well

BEGIN = """
    import gc, sys
    from aeros.core.memory.collector import collect_new, paused

    class Node:
        pass

    def cycle():
        node = Node()
        node.self = node

    def runs():
        return sum(generation["collections"] for generation in gc.get_stats())

    def cycles():
        return sum(type(thing) is Node and hasattr(thing, "self") for thing in gc.get_objects())
"""

WHAT_IS_MADE = """
    before = runs()
    with paused():
        assert not gc.isenabled()
        made = [Node() for _ in range(50_000)]
        cycle()
    assert gc.isenabled() and runs() == before
    assert not {id(thing) for thing in gc.get_objects()} & set(map(id, made)), "a collection would look through it"
    # A second pause adds to it, collections of what is young leave it alone.
    with paused():
        more = [Node() for _ in range(1000)]
    gc.collect(1)
    assert not {id(thing) for thing in gc.get_objects()} & {id(thing) for thing in made + more}
    # It is not forgotten: a full collection finds it.
    assert gc.collect() >= 1
    assert {id(thing) for thing in gc.get_objects()} >= {id(thing) for thing in made + more}
    assert not cycles() and not gc.callbacks
    print("well")
"""

BEFORE_A_FORK = """
    with paused():
        cycle()
    cycle()
    cycle()
    assert cycles() == 2
    collect_new()
    # What has become garbage since is gone; what was made in the pause is back, and was not looked through.
    assert cycles() == 1 and not gc.callbacks
    collect_new()
    assert cycles() == 0
    print("well")
"""

OTHERS = """
    # Whoever collects by hand goes on doing so.
    gc.disable()
    with paused():
        pass
    assert not gc.isenabled() and not gc.callbacks
    gc.enable()
    # Who freezes on purpose, before or after a pause, is left alone.
    with paused():
        pass
    theirs = [Node() for _ in range(5000)]
    gc.freeze()
    with paused():
        pass
    gc.collect()
    assert gc.get_freeze_count() > 5000 and not gc.callbacks
    with paused():
        pass
    collect_new()
    assert gc.get_freeze_count() > 5000 and not gc.callbacks
    print("well")
"""


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="other collectors have no generations")
@pytest.mark.parametrize("program", [WHAT_IS_MADE, BEFORE_A_FORK, OTHERS], ids=["made", "before a fork", "others"])
def test_the_collector_is_out_of_the_way(program: str) -> None:
    goes_well(textwrap.dedent(BEGIN) + textwrap.dedent(program))
