"""The bytes of an HTTP/1.1 response head, as Hypercorn and h11 would write them.

Order, spelling and rules follow h11's Connection._clean_up_response_headers_for_sending and Hypercorn's
H11Protocol.stream_send, but for four things: a status has its reason phrase, a response that has no body has no length
either, an app's own Date or Server is the only one, and the server is called aeros.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from http import HTTPStatus
from time import time
from typing import TYPE_CHECKING

from ..lane.head import Pair

if TYPE_CHECKING:
    from hypercorn.config import Config

_NAME = re.compile(rb"[-!#$%&'*+.^_`|~0-9a-zA-Z]+")

# Header lines as they were last written. Most headers of an app's responses are the same few again and again; once
# they are not, the memory starts anew.
_lines: dict[Pair, tuple[bytes, bytes, bytes]] = {}
_LINES_MAX = 1024
_LINE_LENGTH_MAX = 256

# Whole heads up to the common headers, and the length of the body, of ordinary responses after which the connection
# goes on. Only those whose lines were all known: no value that is ever new gets here. A tenth of a JSON request.
# Off: _HEADS_MAX = 0.
_heads: dict[tuple[object, ...], tuple[bytes, int]] = {}
_HEADS_MAX = 512
_HEAD_LENGTH_MAX = 1024
_USUAL = frozenset(("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))

_REASONS = {int(status): status.phrase.encode() for status in HTTPStatus}
_STATUS_LINES = {code: b"HTTP/1.1 %d %b\r\n" % (code, _REASONS.get(code, b"")) for code in range(100, 1000)}
_OURS = frozenset((b"date", b"server"))  # unless the app sends its own
_DECIDING = frozenset((b"content-length", b"transfer-encoding", b"connection")) | _OURS

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
            headers = response_headers(self._config, self._protocol)
            self._block = b"".join(b"%s: %s\r\n" % header for header in headers)
            self._valid_until = int(now) + 1.0
        return self._block


def response_headers(config: Config, protocol: str) -> list[tuple[bytes, bytes]]:
    """Return what Hypercorn would add to each response, in our name, and the headers that were asked for."""
    further = getattr(config, "further_headers", [])
    instead = {name for name, _ in further} & _OURS
    headers = type(config).response_headers(config, protocol)
    ours = [(name, b"aeros" if value.startswith(b"hypercorn-") else value) for name, value in headers]
    return [header for header in ours if header[0] not in instead] + further


def name_server(config: Config) -> None:
    """Have Hypercorn's own classes give our name, too."""
    config.response_headers = partial(response_headers, config)  # type: ignore[method-assign]


def without(common: bytes, names: set[bytes]) -> bytes:
    """Return the common headers but for those of these names."""
    return b"".join(line for line in common.splitlines(keepends=True) if line.partition(b":")[0] not in names)


def has_no_body(method: str, status: int) -> bool:
    return method == "HEAD" or status < 200 or status in (204, 304) or (method == "CONNECT" and status < 300)


def response_head(
    status: int,
    headers: Iterable[Pair],
    common: bytes,
    *,
    method: str,
    version: str,
    keep_alive: bool,
    last: bool,
) -> tuple[bytes, int, bool]:
    """Return (head, remaining, keep_alive) for a final response.

    headers: the app's; pairs of str are Quart's, sent in lower case and UTF-8. common: see CommonHeaders.
    keep_alive: whether the request leaves the connection open.
    last: this is the last response this connection may carry (keep_alive_max_requests, draining).
    remaining: how many body bytes must follow, or CHUNKED, or UNTIL_CLOSE; 0 where none is sent. Raises ResponseError.
    """
    key: tuple[object, ...] | None = None
    if keep_alive and not last and version == "1.1" and method in _USUAL and type(headers) is list:
        key = (status, *headers)
        try:
            known = _heads.get(key)
        except TypeError:  # a list or a bytearray, which may do but cannot be looked up
            key = None
        else:
            if known is not None:
                return b"%b%b\r\n" % (known[0], common), known[1], True
    return _composed(key, status, headers, common, method, version, keep_alive, last)


def _composed(
    key: tuple[object, ...] | None,
    status: int,
    headers: Iterable[Pair],
    common: bytes,
    method: str,
    version: str,
    keep_alive: bool,
    last: bool,
) -> tuple[bytes, int, bool]:
    """Make the head. key: what it may be remembered by."""
    if not 200 <= status <= 999:
        raise ResponseError(f"status {status} is not one of a final response")
    lines, deciding, fresh = _written(status, headers)
    length: int | None = None
    connection: set[bytes] = set()
    encoded = False
    own: set[bytes] | None = None
    if deciding is not None:
        length, encoded, connection, own = _read_deciding(deciding)
        if own:
            common = without(common, own)
    dropped: set[bytes] = set()
    if status in (204, 304) or (method == "CONNECT" and status < 300):
        dropped.update((b"content-length", b"transfer-encoding"))  # RFC 9110 section 8.6, RFC 9112 section 6.1
        remaining = 0
    elif encoded or length is None:
        dropped.update((b"content-length", b"transfer-encoding"))
        remaining = CHUNKED if version == "1.1" else UNTIL_CLOSE
        keep_alive = keep_alive and (version == "1.1" or method == "HEAD")
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
    if key is not None and not fresh and remaining >= 0 and not connection and not own:
        _remember(key, b"".join(lines), remaining)
    lines.append(common)
    if last:
        if keep_alive:
            lines.append(b"connection: close\r\n")
        connection.add(b"close")
    if remaining == CHUNKED:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    if not keep_alive:
        connection.discard(b"keep-alive")
        connection.add(b"close")
        lines += [b"Connection: %s\r\n" % value for value in sorted(connection)]
    if method == "HEAD":
        remaining = 0
    lines.append(b"\r\n")
    return b"".join(lines), remaining, b"close" not in connection


def _remember(key: tuple[object, ...], head: bytes, remaining: int) -> None:
    if len(head) <= _HEAD_LENGTH_MAX and _HEADS_MAX:
        if len(_heads) >= _HEADS_MAX:
            _heads.clear()
        _heads[key] = head, remaining


def _written(status: int, headers: Iterable[Pair]) -> tuple[list[bytes], list[tuple[bytes, bytes, int]] | None, bool]:
    """Return the lines of the head so far, (name, value, index of the line) of those that decide about framing, and
    whether a line was not known."""
    lines = [_STATUS_LINES[status]]
    fresh = False
    deciding: list[tuple[bytes, bytes, int]] | None = None
    for pair in headers:
        try:
            line, decides, value = _lines[pair]
        except (KeyError, TypeError):  # TypeError: a list or a bytearray, which may do but cannot be looked up
            line, decides, value = _line(pair)
            fresh = True
        if decides:
            if deciding is None:
                deciding = []
            deciding.append((decides, value, len(lines)))
        lines.append(line)
    return lines, deciding, fresh


def header_line(pair: Pair) -> bytes:
    """Return the line of one response header. Raises ValueError for one that cannot be sent."""
    try:
        return _lines[pair][0]
    except (KeyError, TypeError):
        return _line(pair)[0]


def _line(pair: Pair) -> tuple[bytes, bytes, bytes]:
    """Return (header line, its name if it decides about framing or else b"", value). Raises ResponseError."""
    first, second = pair
    if isinstance(first, str) and isinstance(second, str):
        name, value = first.lower().encode(), second.encode()  # as quart.utils.encode_headers does
    else:
        name, value = bytes(first), bytes(second)  # type: ignore[arg-type]
    if name[:1] == b":":
        raise ResponseError(f"illegal response header name {name!r}: pseudo headers are made by the server")
    # As hypercorn.utils.build_and_validate_headers does; what is left must fit into one line.
    name, value = name.strip(), value.strip()
    if _NAME.fullmatch(name) is None:
        raise ResponseError(f"illegal response header name {name!r}")
    if len(value.translate(None, _FORBIDDEN)) != len(value):
        raise ResponseError(f"the response header {name!r} contains a line break, NUL or other forbidden character")
    lower = name.lower()
    line = b"%s: %s\r\n" % (name, value)
    known = (line, lower if lower in _DECIDING else b"", value)
    if type(pair) is tuple and type(second) in (str, bytes) and len(line) < _LINE_LENGTH_MAX:
        if len(_lines) >= _LINES_MAX:
            _lines.clear()
        _lines[pair] = known
    return known


def check_headers(headers: Iterable[Pair]) -> None:
    """Raise ResponseError for a header that must not be sent by any version of HTTP."""
    for pair in headers:
        try:
            known = pair in _lines
        except TypeError:
            known = False
        if not known:
            _line(pair)


def _read_deciding(headers: list[tuple[bytes, bytes, int]]) -> tuple[int | None, bool, set[bytes], set[bytes] | None]:
    """Return (content length, chunked?, connection tokens, the app's own of _OURS). Raises ResponseError."""
    length: bytes | None = None
    encoded = False
    own: set[bytes] | None = None
    connection: set[bytes] = set()
    for name, value, _ in headers:
        if name == b"content-length":
            if length is not None or not value.isdigit() or len(value) > 18:
                raise ResponseError("bad or repeated Content-Length")
            length = value
        elif name == b"connection":
            connection.update(token for part in value.lower().split(b",") if (token := part.strip()))
        elif name == b"transfer-encoding":
            if encoded or value.lower() != b"chunked":
                raise ResponseError("only one Transfer-Encoding, chunked, can be sent")
            encoded = True
        else:
            own = {*own, name} if own else {name}
    return (None if length is None else int(length)), encoded, connection, own


def error_response(status: int, common: bytes, keep_alive: bool = True) -> bytes:
    """Return the whole of an empty error response that closes the connection.

    keep_alive: False where the request itself had ended the connection; h11 then writes the header its own way.
    """
    if keep_alive:
        return b"%scontent-length: 0\r\nconnection: close\r\n%s\r\n" % (_STATUS_LINES[status], common)
    return b"%scontent-length: 0\r\n%sConnection: close\r\n\r\n" % (_STATUS_LINES[status], common)


def continue_response(common: bytes) -> bytes:
    return b"%s%s\r\n" % (_STATUS_LINES[100], common)
