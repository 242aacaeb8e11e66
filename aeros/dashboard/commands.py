"""What a client sends to steer the server: a small JSON object, taken only if nothing about it is odd."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from quart import request

#: No command is longer. More is refused by the lane, before it is read.
MAX_BODY_BYTES = 1 << 20
#: A command that is not there after this is not coming.
_BODY_TIMEOUT_S = 5.0
#: Numbers have to fit into a message to the supervisor; what they mean is for it to judge.
_LARGEST = 1 << 31


class BadBodyError(Exception):
    """The body is no command; the text says what to send. status: of the response."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


async def read_number(name: str, instead: str, *, optional: bool = False) -> int | None:
    """Return the whole number `name` of the request's body, None where it may be missing or null and is.

    instead: what to send, for who sent something else. Raises BadBodyError.
    """
    given = _object(await _body(), instead)
    value = given.pop(name, None)
    if given or (value is None and not optional):
        raise BadBodyError(instead)
    if value is not None and (type(value) is not int or abs(value) >= _LARGEST):
        raise BadBodyError(instead)
    return value


async def read_nothing() -> None:
    """Take a body that says nothing: none, or an empty object. Raises BadBodyError."""
    body = await _body()
    if body and _object(body, "send {}, or no body"):
        raise BadBodyError("send {}, or no body")


async def _body() -> bytes:
    try:
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            return await request.get_data(True, False, False)
    except TimeoutError:
        raise BadBodyError(f"the body was not there within {_BODY_TIMEOUT_S:.0f} s", 408) from None


def _object(body: bytes, instead: str) -> dict[str, Any]:
    try:
        given = json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):  # of the nesting, which may be as deep as the body is long
        raise BadBodyError(f"not JSON that can be used: {instead}") from None
    if not isinstance(given, dict):
        raise BadBodyError(instead)
    return given


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")  # and readers differ in which of them counts
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
