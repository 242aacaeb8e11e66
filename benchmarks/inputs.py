"""What clients may send to keep a server busy with few bytes: one entry for each kind of input of scripts/bytes."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass

SIZE = 256 << 10
"""Bytes of one batch, about."""

Make = Callable[[int], tuple[bytes, int]]


@dataclass(frozen=True)
class Input:
    """make: gets the number of a batch on its connection; returns its bytes and how many answers it gets."""

    name: str
    protocol: str  # http1, http2, websocket
    make: Make


def _filled(one: bytes) -> bytes:
    return one * (SIZE // len(one))


# HTTP/1

_POST = b"POST / HTTP/1.1\r\nHost: a\r\n"


def _chunked(row: bytes) -> Make:
    body = _POST + b"Transfer-Encoding: chunked\r\n\r\n" + _filled(row) + b"0\r\n\r\n"
    return lambda _: (body, 1)


def _chunk(size: int, extension: bytes = b"") -> bytes:
    return b"%x%b\r\n%b\r\n" % (size, extension, b"x" * size)


def _mixed() -> bytes:
    sizes = random.Random(7)
    return b"".join(_chunk(sizes.randint(1, 16)) for _ in range(5000))


def _requests(one: bytes) -> Make:
    count = max(1, SIZE // len(one))
    return lambda _: (one * count, count)


def _get(fields: bytes, target: bytes = b"/") -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (target, fields)


def _counted(_: int) -> tuple[bytes, int]:
    return _POST + b"Content-Length: %d\r\n\r\n" % SIZE + bytes(SIZE), 1


_TRAILERS = _POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n" + b"a:b\r\n" * 3000 + b"\r\n"
_FIELDS = b"".join(b"x-field-%d: %b\r\n" % (number, b"v" * 40) for number in range(240))

# HTTP/2

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 8, 9
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack(">BBL", kind, flags, stream) + payload


def _head(method: int = 2) -> bytes:
    """Return :method (2 is GET, 3 POST in the static table), :scheme http, :path / and :authority a."""
    return bytes((0x80 | method, 0x86, 0x84)) + b"\x01\x01a"


def _literal(name: bytes, value: bytes) -> bytes:
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value


def _heads(fields: bytes) -> Make:
    block = _head() + fields
    count = min(50, SIZE // (len(block) + 9))  # of 100 streams that a server lets be open

    def make(batch: int) -> tuple[bytes, int]:
        first = 1 + 2 * count * batch
        return b"".join(frame(HEADERS, 5, first + 2 * number, block) for number in range(count)), count

    return make


def _data(payload: bytes) -> Make:
    one = len(payload) + 9

    def make(batch: int) -> tuple[bytes, int]:
        stream = 1 + 2 * batch
        many = frame(DATA, 0, stream, payload) * (SIZE // one)
        return frame(HEADERS, 4, stream, _head(3)) + many + frame(DATA, 1, stream), 1

    return make


def _flood(one: bytes) -> Make:
    return lambda batch: (_filled(one) + frame(HEADERS, 5, 1 + 2 * batch, _head()), 1)


def _huffman(size: int) -> bytes:
    """Return a field with a value of so many digits, compressed: the digit 0 is the five bits 00000."""
    packed = bytes(size * 5 // 8)
    return b"\0\x03x-h" + bytes((0x80 | len(packed),)) + packed


_CRUMBS = b"".join(b"\x0f\x11\x06a=%04d" % number for number in range(1400))
_TYPICAL = b"".join(
    _literal(name, value)
    for name, value in (
        (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"),
        (b"accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        (b"accept-language", b"en-GB,en;q=0.9"),
        (b"cookie", b"session=0123456789abcdef0123456789abcdef"),
    )
)
_FIELDS_2 = b"".join(_literal(b"x-field-%d" % number, b"v" * 40) for number in range(240))

# WebSockets

KEY = b"\1\2\3\4"


def websocket_frame(opcode: int, payload: bytes = b"", fin: bool = True) -> bytes:
    length = bytes((0x80 | len(payload),)) if len(payload) < 126 else b"\xfe" + struct.pack(">H", len(payload))
    masked = bytes(byte ^ KEY[index % 4] for index, byte in enumerate(payload))
    return bytes((opcode | (0x80 if fin else 0),)) + length + KEY + masked


_END = websocket_frame(1, b"end")


def _messages(one: bytes) -> Make:
    return lambda _: (_filled(one) + _END, 1)


def _fragments(_: int) -> tuple[bytes, int]:
    one = websocket_frame(0, b"x", fin=False)
    return websocket_frame(1, b"x", fin=False) + _filled(one) + websocket_frame(0, b"x") + _END, 1


INPUTS = (
    Input("a counted body", "http1", _counted),
    Input("chunks of 16 KiB", "http1", _chunked(_chunk(1 << 14))),
    Input("chunks of 256 bytes", "http1", _chunked(_chunk(256))),
    Input("chunks of 1 to 16 bytes", "http1", _chunked(_mixed())),
    Input("chunks of 1 byte", "http1", _chunked(_chunk(1))),
    Input("chunks of 1 byte with an extension", "http1", _chunked(_chunk(1, b";a=b"))),
    Input("3000 trailers to a body of 1 byte", "http1", _requests(_TRAILERS)),
    Input("240 header fields", "http1", _requests(_get(_FIELDS))),
    Input("cookies of 14 KiB", "http1", _requests(_get(b"Cookie: " + b"a=1; " * 2800 + b"b=2\r\n"))),
    Input("query strings of 7 KiB", "http1", _requests(_get(b"", b"/?" + b"a=1&" * 1750))),
    Input("typical requests", "http2", _heads(_TYPICAL)),
    Input("1400 pieces of a cookie", "http2", _heads(_CRUMBS)),
    Input("Huffman codes", "http2", _heads(_huffman(200) * 100)),
    Input("240 header fields", "http2", _heads(_FIELDS_2)),
    Input("DATA of 1 byte", "http2", _data(b"x")),
    Input("PRIORITY", "http2", _flood(frame(PRIORITY, 0, 1, b"\0\0\0\0\0"))),
    Input("WINDOW_UPDATE", "http2", _flood(frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1"))),
    Input("PING", "http2", _flood(frame(PING, 0, 0, bytes(8)))),
    Input("SETTINGS", "http2", _flood(frame(SETTINGS, 0, 0))),
    Input("messages of 16 KiB", "websocket", _messages(websocket_frame(2, bytes(1 << 14)))),
    Input("messages of 1 byte", "websocket", _messages(websocket_frame(1, b"x"))),
    Input("messages of 0 bytes", "websocket", _messages(websocket_frame(2))),
    Input("fragments of 1 byte", "websocket", _fragments),
    Input("pings", "websocket", _messages(websocket_frame(9, b"x"))),
)
