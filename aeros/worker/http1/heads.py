"""Where the head of a request ends in what a client has sent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .parser import RequestRefused, refuses_early

if TYPE_CHECKING:
    from ..lane.service import Service

_EMPTY_LINES = re.compile(rb"\A(?:\r\n)+")


def next_head(ahead: bytearray, data: bytes, service: Service) -> tuple[bytes, bytes] | None:
    """Return a complete head and what stands behind it; None if more is to come. Raises RequestRefused.

    ahead: what has come of the head before; it keeps what has come so far.
    """
    if data[0] == 0x0D or (ahead and ahead[0] == 0x0D):
        # Empty lines before a request (RFC 9112 section 2.2).
        data = _EMPTY_LINES.sub(b"", bytes(ahead) + data, 1)
        ahead.clear()
        if data in (b"", b"\r"):
            ahead += data
            return None
    if ahead:
        start = len(ahead)
        ahead += data
        end = ahead.find(b"\r\n\r\n", max(0, start - 3))
        if end >= 0:
            data = bytes(ahead)
            ahead.clear()
    else:
        start = 0
        end = data.find(b"\r\n\r\n")
        if end < 0:
            ahead += data
    if end < 0:
        _bear(ahead, start, service)
        return None
    end += 4
    if end > service.incomplete_size:
        raise RequestRefused(431, "head too long")
    if len(data) == end:
        return data, b""
    return data[:end], data[end:]


def _bear(ahead: bytearray, start: int, service: Service) -> None:
    """Raise RequestRefused if nothing that may follow makes a request of it. start: so much has been looked at."""
    most_of_line = service.limits.request_line_bytes
    if len(ahead) > most_of_line and b"\n" not in ahead[: most_of_line + 2]:
        raise RequestRefused(414, "request line too long")
    if len(ahead) > service.incomplete_size:
        raise RequestRefused(431, "head too long")
    if refuses_early(ahead, start):
        raise RequestRefused(400, "no request begins like this")


def has_begun(ahead: bytearray) -> bool:
    """Tell whether it is the beginning of a head. Empty lines before it are not, and do not move the idle time."""
    return bool(ahead) and ahead != b"\r"
