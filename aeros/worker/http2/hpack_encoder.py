"""Response fields as bytes of an HTTP/2 header block (RFC 7541).

Without a dynamic table: so the bytes of a field are the same for every connection, and those of fields that come
again and again are made once. What an own table would save is some bytes a response on the wire.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from time import time
from typing import TYPE_CHECKING

from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from ..http1.response import ResponseError, response_headers
from ..lane.head import Pair
from .hpack_decoder import STATIC

if TYPE_CHECKING:
    from hypercorn.config import Config

NO_TABLE = b"\x20"
"""Says that the encoder's table has size 0. To stand at the beginning of a connection's first block: a client that
allows less than the default 4096 must be told, and wants to hear it from every encoder (section 4.2)."""

_NAME = re.compile(rb"[-!#$%&'*+.^_`|~0-9a-z]+")
_FORBIDDEN = b"\r\n\0\x0b\x0c"
_OF_HTTP1 = frozenset((b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"))
_SECRET = frozenset((b"set-cookie", b"authorization", b"proxy-authorization"))
#: Mostly different each time: to compress them costs more than it saves.
_VARYING = frozenset((b"content-length", b"content-range", b"etag", b"last-modified", b"location", b"x-request-id"))

_names: dict[bytes, int] = {}
_whole: dict[tuple[bytes, bytes], int] = {}
for _index, (_name, _value) in enumerate(STATIC):
    if _name:
        _names.setdefault(_name, _index)
        _whole.setdefault((_name, _value), _index)

_huffman = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)

# Fields as they were last written; see http1.response.
_fields: dict[Pair, tuple[bytes, int]] = {}
_FIELDS_MAX = 1024
_FIELD_LENGTH_MAX = 256

_STATUS = {int(value): bytes((0x80 | index,)) for (name, value), index in _whole.items() if name == b":status"}

UNSIZED = -1  # no Content-Length was given
_OURS = {-2: b"date", -3: b"server"}  # what is sent unless the app sends its own, by what stands for a size of these
_SIZES = {name: size for size, name in _OURS.items()}


class CommonFields:
    """Hypercorn's own response headers (date, server, alt-svc) as part of a block, made once per second."""

    __slots__ = ("_block", "_config", "_fields", "_valid_until")

    def __init__(self, config: Config) -> None:
        self._config = config
        self._valid_until = 0.0
        self._block = b""
        self._fields: list[tuple[bytes, bytes]] = []

    def block(self) -> bytes:
        now = time()
        # The second test catches a wall clock that was set back.
        if now >= self._valid_until or now < self._valid_until - 1:
            self._fields = [(name, encode(name, value)) for name, value in response_headers(self._config, "h2")]
            self._block = b"".join(part for _, part in self._fields)
            self._valid_until = int(now) + 1.0
        return self._block

    def without(self, names: list[bytes]) -> bytes:
        """Return the block but for the fields of these names."""
        self.block()
        return b"".join(part for name, part in self._fields if name not in names)


def response_block(status: int, headers: Iterable[Pair], common: CommonFields) -> tuple[bytes, int]:
    """Return (block, content length or UNSIZED). headers: the app's; see http1.response.response_head.

    Raises ResponseError.
    """
    if not 200 <= status <= 999:
        raise ResponseError(f"status {status} is not one of a final response")
    parts = [_status(status)]
    length = UNSIZED
    own: list[bytes] = []
    for pair in headers:
        try:
            part, size = _fields[pair]
        except (KeyError, TypeError):  # TypeError: a list or a bytearray, which may do but cannot be looked up
            part, size = _field(pair)
        if size != UNSIZED:
            if size < 0:
                own.append(_OURS[size])
            elif length != UNSIZED:
                raise ResponseError("bad or repeated Content-Length")
            else:
                length = size
                if status in (204, 304):  # neither a body nor a length (RFC 9110 section 8.6)
                    continue
        parts.append(part)
    parts.append(common.without(own) if own else common.block())
    return b"".join(parts), length


def _status(status: int) -> bytes:
    return _STATUS.get(status) or b"\x08\x03%d" % status


def informational_block(status: int, headers: Iterable[Pair], common: bytes) -> bytes:
    return b"".join((_status(status), *(_field(pair)[0] for pair in headers), common))


def trailers_block(headers: Iterable[Pair]) -> bytes:
    return b"".join(_field(pair)[0] for pair in headers)


def _field(pair: Pair) -> tuple[bytes, int]:
    """Return (bytes of the field, its number if it is Content-Length, or else one below 0). Raises ResponseError."""
    first, second = pair
    if isinstance(first, str) and isinstance(second, str):
        name, value = first.lower().encode(), second.encode()  # as quart.utils.encode_headers does
    else:
        name, value = bytes(first).lower(), bytes(second)  # type: ignore[arg-type]
    if name[0] == 0x3A:
        raise ValueError("Pseudo headers are not valid")
    name, value = name.strip(), value.strip()
    if _NAME.fullmatch(name) is None:
        raise ResponseError(f"illegal response header name {name!r}")
    if len(value.translate(None, _FORBIDDEN)) != len(value):
        raise ResponseError("a response header contains a line break, NUL or other forbidden character")
    size = _SIZES.get(name, UNSIZED)
    if name == b"content-length":
        if not value.isdigit() or len(value) > 18:
            raise ResponseError("bad or repeated Content-Length")
        size = int(value)
    known = (b"" if name in _OF_HTTP1 else encode(name, value), size)
    if type(pair) is tuple and type(second) in (str, bytes) and len(name) + len(value) < _FIELD_LENGTH_MAX:
        if len(_fields) >= _FIELDS_MAX:
            _fields.clear()
        _fields[pair] = known
    return known


def encode(name: bytes, value: bytes) -> bytes:
    """Return the bytes of one field, whose name is in lower case."""
    index = _whole.get((name, value))
    if index is not None:
        return bytes((0x80 | index,))
    index = _names.get(name, 0)
    head = _integer(index, 0x0F, 0x10 if name in _SECRET else 0)
    if not index:
        head += _string(name, True)
    return head + _string(value, name not in _VARYING and name not in _SECRET)


def _string(text: bytes, compress: bool) -> bytes:
    if compress and len(text) < _FIELD_LENGTH_MAX:
        compressed = _huffman.encode(text)
        if len(compressed) < len(text):
            return _integer(len(compressed), 0x7F, 0x80) + compressed
    return _integer(len(text), 0x7F, 0) + text


def _integer(number: int, mask: int, flags: int) -> bytes:
    if number < mask:
        return bytes((flags | number,))
    encoded = bytearray((flags | mask,))
    number -= mask
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
