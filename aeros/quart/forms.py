"""Bounds for what Quart makes of a form: how many fields, and how long the event loop is kept by reading them.

Quart bounds the parts of a multipart form (MAX_FORM_PARTS, 1000), but not the fields of an urlencoded one: a million of
them are 2 MB on the wire, a quarter of a gigabyte in memory, and a second in which nothing else runs. And it reads
whatever has come of a multipart form in one go.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import wraps
from time import perf_counter
from typing import Any

import quart.formparser
from quart.formparser import FormDataParser
from werkzeug.exceptions import RequestEntityTooLarge

FIELDS_PER_PART = 10
"""A field of an urlencoded form costs a tenth of a part: so many are allowed for each of MAX_FORM_PARTS."""

SIP = 1 << 14
"""Bytes of a multipart form that are parsed at a time: some 300 tiny parts, 5 ms."""

TURN_S = 0.002
"""After so long others have their turn."""

MULTIPART = "multipart/form-data"
URLENCODED = ("application/x-www-form-urlencoded", "application/x-url-encoded")


def bound_forms() -> None:
    """Bound the forms of this process's Quart apps. What somebody has put in place of Quart's own is left alone."""
    functions: dict[str, Any] = FormDataParser.parse_functions
    for kind, bounded in ((MULTIPART, _in_sips), *((name, _counted) for name in URLENCODED)):
        parse = functions.get(kind)
        if getattr(getattr(parse, "__code__", None), "co_filename", None) == quart.formparser.__file__:
            functions[kind] = bounded(parse)


def _counted(parse: Any) -> Any:
    @wraps(parse)
    async def parse_urlencoded(parser: FormDataParser, body: Any, *rest: Any) -> Any:
        parts = getattr(parser, "max_form_parts", None)
        if parts is not None and (await body).count(b"&") >= parts * FIELDS_PER_PART:
            raise RequestEntityTooLarge
        return await parse(parser, body, *rest)

    return parse_urlencoded


def _in_sips(parse: Any) -> Any:
    @wraps(parse)
    async def parse_multipart(parser: FormDataParser, body: Any, *rest: Any) -> Any:
        return await parse(parser, _sips(body), *rest)

    return parse_multipart


async def _sips(body: Any) -> AsyncIterator[bytes]:
    begun = perf_counter()
    async for data in body:
        for start in range(0, len(data), SIP):
            yield data[start : start + SIP]
            if perf_counter() - begun > TURN_S:
                await asyncio.sleep(0)
                begun = perf_counter()
