"""`core.packing` and `core.hot`: code side by side does what it did before, and what is named for it exists."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import CodeType, FunctionType

import pytest

from aeros.compat import quart_line
from aeros.core.immortal import can_immortalise
from aeros.core.packing import pack_code
from tests.helpers.child import goes_well


def plain(number: int, *rest: int, more: int = 2) -> tuple[int, ...]:
    """Add."""
    return (number + more, *rest)


def outer(base: int) -> FunctionType:
    def inner(number: int) -> list[int]:
        return [base + other for other in range(number)]

    assert isinstance(inner, FunctionType)
    return inner


def numbers(count: int) -> Iterator[int]:
    sent = None
    for number in range(count):
        sent = yield number if sent is None else sent


class Kind:
    def __init__(self) -> None:
        self.made = __class__  # type: ignore[name-defined]

    @property
    def name(self) -> str:
        return type(self).__name__


def code_in(code: CodeType) -> list[CodeType]:
    return [value for value in code.co_consts if isinstance(value, CodeType)]


def test_packed_code_does_the_same() -> None:
    first, second = outer(1), outer(2)
    running = numbers(3)
    assert next(running) == 0
    name = Kind.__dict__["name"].fget
    functions = [plain, outer, first, second, numbers, Kind.__init__, name]
    before = [function.__code__ for function in functions]
    pack_code(functions)
    after = [function.__code__ for function in functions]
    assert after == before
    assert all(new is not old for new, old in zip(after, before, strict=True))
    assert all(new.co_consts == old.co_consts for new, old in zip(after, before, strict=True))
    # Code in code is copied with it; functions that shared theirs share the copy, and so do those made from now on.
    assert first.__code__ is second.__code__ is code_in(outer.__code__)[0] is outer(3).__code__
    assert plain(1, 5, more=3) == (4, 5) and plain.__doc__ == "Add."
    assert (first(2), second(2)) == ([1, 2], [2, 3])
    assert list(running) == [1, 2] and list(numbers(2)) == [0, 1]
    assert (Kind().made, Kind().name) == (Kind, "Kind")
    try:
        plain("a")  # type: ignore[arg-type]
    except TypeError as error:
        assert error.__traceback__ is not None and error.__traceback__.tb_next is not None
        assert error.__traceback__.tb_next.tb_lineno == before[0].co_firstlineno + 2


def test_nothing_is_packed_while_somebody_watches() -> None:
    before = plain.__code__
    sys.setprofile(lambda frame, event, argument: None)
    try:
        pack_code([plain])
    finally:
        sys.setprofile(None)
    assert plain.__code__ is before


SIDE_BY_SIDE = """
    import sys
    from aeros.core.holes import fill_holes
    from aeros.core.packing import pack_code

    def module(number):
        names = {}
        exec("\\n".join(f"def f{index}(a): return a + {number}" for index in range(20)), names)
        return names

    modules = [module(number) for number in range(300)]
    garbage = [bytes(size) for size in range(200, 480, 8) for _ in range(100)]
    del garbage[::2]
    functions = [names["f7"] for names in modules]

    def pages(functions):
        return len({id(function.__code__) >> 12 for function in functions})

    before = pages(functions)
    fill_holes()
    pack_code(functions)
    after = pages(functions)
    assert before > 200 and after < 50, (before, after)
    print("well")
"""


def test_packed_code_is_side_by_side() -> None:
    goes_well(SIDE_BY_SIDE, environ={"PYTHONMALLOC": "pymalloc"})


NAMED = """
    import gc, sys
    from importlib import import_module
    from types import FunctionType

    for module in ("aeros.app", "aeros.supervisor.zygote", "aeros.worker.main", "aeros.worker.quart_exchange"):
        import_module(module)
    gc.unfreeze()
    from aeros.compat import quart_line
    from aeros.core.hot import HOT

    functions = {(item.__module__, item.__qualname__) for item in gc.get_objects() if type(item) is FunctionType}
    other_line = {"0.22": "_023", "0.23": "_022"}[quart_line()]
    # A module is only imported where it is needed, a function in a function only made where that is called.
    loaded = [module for module in HOT if module in sys.modules]
    named = {(module, name) for module in loaded for name in HOT[module] if "<locals>" not in name}
    lost = named - functions
    ours = {item for item in lost if item[0].startswith("aeros.") and not item[0].endswith(other_line)}
    assert not ours, ours
    assert len(named) > 500 and len(lost) < len(named) / 4, (len(named), sorted(lost))
    print("well")
"""


@pytest.mark.skipif(not can_immortalise() or quart_line() is None, reason="nothing is packed here")
def test_the_functions_named_exist() -> None:
    """Who renames a function runs scripts/hot again; of libraries another version may be installed."""
    goes_well(NAMED)
