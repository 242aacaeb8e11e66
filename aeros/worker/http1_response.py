"""The bytes of an HTTP/1.1 response head, as Hypercorn and h11 would write them.

Order, spelling and rules follow h11's Connection._clean_up_response_headers_for_sending and Hypercorn's
H11Protocol.stream_send, so that a client cannot tell the two paths apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from time import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hypercorn.config import Config

_NAME = re.compile(rb"[-!#$%&'*+.^_`|~0-9a-zA-Z]+")
# Names that were found good. The set is small in any sane app; the bound is for the insane one.
_good_names: set[bytes] = set()
_GOOD_NAMES_MAX = 1024

_STATUS_LINES = {code: b"HTTP/1.1 %d \r\n" % code for code in range(100, 1000)}
_DECIDING = frozenset((b"content-length", b"transfer-encoding", b"connection"))

# What a header line may not contain besides its own end.
_FORBIDDEN = b"\r\n\0\x0b\x0c"

CHUNKED = -1  # "remaining" of a body that is framed by chunks
UNTIL_CLOSE = -2  # "remaining" of a body that ends with the connection


class ResponseError(ValueError):
    """The app made a response that cannot be sent: bad header, bad length. Nothing of it was written."""


class CommonHeaders:
    """Hypercorn's own response headers (date, server, alt-svc) as bytes, formatted once per second."""

    __slots__ = ("_block", "_config", "_protocol", "_valid_until")

    def __init__(self, config: Config, protocol: str = "h11") -> None:
        self._config = config
        self._protocol = protocol
        self._valid_until = 0.0
        self._block = b""

    def block(self) -> bytes:
        now = time()
        # The second test catches a wall clock that was set back.
        if now >= self._valid_until or now < self._valid_until - 1:
            headers = self._config.response_headers(self._protocol)
            self._block = b"".join(b"%s: %s\r\n" % header for header in headers)
            self._valid_until = int(now) + 1.0
        return self._block


def has_no_body(method: str, status: int) -> bool:
    return method == "HEAD" or status < 200 or status in (204, 304)


def response_head(
    status: int,
    headers: Iterable[tuple[bytes, bytes]],
    common: bytes,
    *,
    method: str,
    version: str,
    keep_alive: bool,
    last: bool,
) -> tuple[bytes, int, bool]:
    """Return (head, remaining, keep_alive) for a final response.

    headers: the app's. common: see CommonHeaders. keep_alive: whether the request leaves the connection open.
    last: this is the last response this connection may carry (keep_alive_max_requests, draining).
    remaining: how many body bytes must follow, or CHUNKED, or UNTIL_CLOSE; 0 where the body is not sent at all.
    Raises ResponseError.
    """
    if not 200 <= status <= 999:
        raise ResponseError(f"status {status} is not one of a final response")
    lines = [_STATUS_LINES[status]]
    deciding: list[tuple[bytes, bytes, int]] | None = None
    for name, value in headers:
        name = bytes(name).strip()  # noqa: PLW2901 - as hypercorn.utils.build_and_validate_headers does
        value = bytes(value).strip()  # noqa: PLW2901
        if name not in _good_names:
            _check_name(name)
        lower = name.lower()
        if lower in _DECIDING:
            if deciding is None:
                deciding = []
            deciding.append((lower, value, len(lines)))
        lines.append(b"%s: %s\r\n" % (name, value))

    length: int | None = None
    connection: set[bytes] = set()
    encoded = False
    if deciding is not None:
        length, encoded, connection = _read_deciding(deciding)
    dropped: set[bytes] = set()
    remaining: int
    if status in (204, 304) or (method == "CONNECT" and status < 300):
        remaining = 0
    elif encoded or length is None:
        dropped.update((b"content-length", b"transfer-encoding"))
        if version == "1.1":
            remaining = CHUNKED
        else:
            remaining = UNTIL_CLOSE
            keep_alive = keep_alive and method == "HEAD"
    else:
        remaining = length
    # h11 leaves the app's Connection header where it is unless it must add to it. For a `last` response Hypercorn
    # puts its own line behind the common headers, which by itself does not make h11 rewrite anything.
    if not keep_alive:
        dropped.add(b"connection")
    if deciding is not None and dropped:
        for name, _, index in reversed(deciding):
            if name in dropped:
                del lines[index]
    head = b"".join(lines)
    if len(head.translate(None, _FORBIDDEN)) != len(head) - 2 * len(lines):
        raise ResponseError("a response header contains a line break, NUL or other forbidden character")

    tail = common
    if last:
        if keep_alive:
            tail += b"connection: close\r\n"
        connection.add(b"close")
    if remaining == CHUNKED:
        tail += b"Transfer-Encoding: chunked\r\n"
    if not keep_alive:
        connection.discard(b"keep-alive")
        connection.add(b"close")
        tail += b"".join(b"Connection: %s\r\n" % value for value in sorted(connection))
    if method == "HEAD":
        remaining = 0
    return head + tail + b"\r\n", remaining, b"close" not in connection


def _check_name(name: bytes) -> None:
    if name[:1] == b":":
        raise ValueError("Pseudo headers are not valid")
    if _NAME.fullmatch(name) is None:
        raise ResponseError(f"illegal response header name {name!r}")
    if len(_good_names) < _GOOD_NAMES_MAX:
        _good_names.add(name)


def _read_deciding(headers: list[tuple[bytes, bytes, int]]) -> tuple[int | None, bool, set[bytes]]:
    """Return (content length, chunked?, connection tokens). Raises ResponseError."""
    length: bytes | None = None
    encoded = False
    connection: set[bytes] = set()
    for name, value, _ in headers:
        if name == b"content-length":
            if length is not None or not value.isdigit() or len(value) > 18:
                raise ResponseError("bad or repeated Content-Length")
            length = value
        elif name == b"connection":
            connection.update(token for part in value.lower().split(b",") if (token := part.strip()))
        else:
            if encoded or value.lower() != b"chunked":
                raise ResponseError("only one Transfer-Encoding, chunked, can be sent")
            encoded = True
    return (None if length is None else int(length)), encoded, connection


def error_response(status: int, common: bytes, keep_alive: bool = True) -> bytes:
    """Return the whole of an empty error response that closes the connection.

    keep_alive: False where the request itself had ended the connection; h11 then writes the header its own way.
    """
    if keep_alive:
        return b"%scontent-length: 0\r\nconnection: close\r\n%s\r\n" % (_STATUS_LINES[status], common)
    return b"%scontent-length: 0\r\n%sConnection: close\r\n\r\n" % (_STATUS_LINES[status], common)


def continue_response(common: bytes) -> bytes:
    return b"%s%s\r\n" % (_STATUS_LINES[100], common)
