"""A name for each request, from whoever asked first: taken over where it is well-formed, else made, and sent back."""

from __future__ import annotations

import copy
import re
import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .head import Head

HEADER = b"x-request-id"
#: What may stand in logs, URLs and other programs' headers without harm: UUIDs, trace ids, base64.
_WELL_FORMED = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")


def with_request_id(headers: Iterable[Any]) -> list[tuple[bytes, bytes]]:
    """Return the headers with one request id: the client's, if it sent one that is well-formed, or a new one."""
    kept, found = [], []
    for name, value in headers:
        if name == HEADER or name.lower() == HEADER:
            found.append(bytes(value))
        else:
            kept.append((name, value))
    good = len(found) == 1 and _WELL_FORMED.fullmatch(found[0])
    kept.append((HEADER, found[0] if good else secrets.token_hex(16).encode()))
    return kept


def identified(head: Head) -> Head:
    """Return the head with a request id; the given one may be shared by many requests."""
    head = copy.copy(head)
    head.headers = with_request_id(head.headers)
    head.text_headers = None
    return head


def with_echo(scope: dict[str, Any], headers: Iterable[Any]) -> list[Any]:
    """Return the headers of a response with the request's id, unless the app has set one."""
    answered = list(headers)
    text = bool(answered) and isinstance(answered[0][0], str)
    if not any((name.encode() if isinstance(name, str) else bytes(name)).lower() == HEADER for name, _ in answered):
        # The last one: see with_request_id.
        name, value = scope["headers"][-1]
        answered.append((name.decode(), value.decode()) if text else (name, value))
    return answered
