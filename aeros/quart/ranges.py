"""Ranges and preconditions as RFC 9110 has them, where Quart answers 500, 416 or with a body that nobody may have.

Quart passes `bytes=-3` to its bodies as "from -3 on", which none of them can. It refuses several ranges, and units that
it does not know, with 416, which means that the ranges are not there; a server may ignore what it does not serve
(sections 14.2 and 14.1). And its 412 carries the whole body.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

import quart.wrappers.response
from quart.wrappers.response import DataBody, FileBody, IOBody, Response
from werkzeug.exceptions import RequestedRangeNotSatisfiable


def mend_ranges() -> None:
    """Mend the responses of this process's Quart apps. What somebody has put in place of Quart's own is left alone."""
    for body in (DataBody, FileBody, IOBody):
        _replace(body, "make_conditional", _from_the_end)
    _replace(Response, "_process_range_request", _one_range_of_bytes)
    _replace(Response, "make_conditional", _without_body)


def _replace(kind: type[Any], name: str, mend: Any) -> None:
    method = vars(kind).get(name)
    # A method that is mended already has its code elsewhere.
    if getattr(getattr(method, "__code__", None), "co_filename", None) == quart.wrappers.response.__file__:
        setattr(kind, name, mend(method))


def _from_the_end(make_conditional: Any) -> Any:
    @wraps(make_conditional)
    async def from_the_end(body: Any, begin: int, end: int | None) -> Any:
        if begin < 0 and end is None:
            size = len(body.data) if isinstance(body, DataBody) else body.size
            begin = max(0, size + begin)  # section 14.1.2: a longer suffix is all there is
        return await make_conditional(body, begin, end)

    return from_the_end


def _one_range_of_bytes(process: Any) -> Any:
    @wraps(process)
    async def one_range_of_bytes(
        response: Any, request: Any, complete_length: int | None = None, accept_ranges: str | None = None
    ) -> Any:
        wanted = request.range
        if "," in request.headers.get("Range", "") or (wanted is not None and wanted.units != "bytes"):
            return False
        try:
            return await process(response, request, complete_length, accept_ranges)
        except RequestedRangeNotSatisfiable as error:
            error.length = error.length or complete_length  # for Content-Range, section 15.5.17
            raise

    return one_range_of_bytes


def _without_body(make_conditional: Any) -> Any:
    @wraps(make_conditional)
    async def without_body(response: Any, *args: Any, **given: Any) -> Any:
        before = response.status_code
        result = await make_conditional(response, *args, **given)
        if response.status_code == 412 != before:
            response.set_data(b"")
        return result

    return without_body
