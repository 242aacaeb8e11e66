"""The code that workers run, side by side in memory.

CPython writes into code as it runs it: how often it came by, and what it found there. An import lays the code of a
module's functions out between everything else, and of these a worker runs one in ten, all over the place: for each it
would make a page its own. So their code is copied, one piece behind the other, and the functions are given the copies.
They do the same, on a third of the pages.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterable
from types import CodeType, FunctionType

#: The code as it was. Freed, it would leave holes all over.
_replaced: list[CodeType] = []


def pack_code(functions: Iterable[FunctionType]) -> None:
    """Copy their code to one place, in this order.

    Not while a debugger, a profiler or a coverage tool is watching: these know code by its identity.
    """
    if _is_watched():
        return
    copies: dict[int, CodeType] = {}
    for function in functions:
        function.__code__ = _copy(function.__code__, copies)


def _is_watched() -> bool:
    tools = getattr(sys, "monitoring", None)
    return (
        sys.gettrace() is not None
        or sys.getprofile() is not None
        or (tools is not None and any(tools.get_tool(number) is not None for number in range(6)))
    )


def _copy(code: CodeType, copies: dict[int, CodeType]) -> CodeType:
    """Return a copy with copies of the code in it. copies: those made so far; who shares code goes on sharing it."""
    copy = copies.get(id(code))
    if copy is None:
        constants = tuple(_copy(value, copies) if type(value) is CodeType else value for value in code.co_consts)
        same = all(map(operator.is_, constants, code.co_consts))
        copy = copies[id(code)] = code.replace() if same else code.replace(co_consts=constants)
        _replaced.append(code)
    return copy
