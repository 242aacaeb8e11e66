"""HTTP/2 frames (RFC 9113, section 6): their numbers, the faults of a peer, and the bytes of those the server sends."""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
UNKNOWN = 10  # all kinds above; not a number of the RFC

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20

NO_ERROR = 0x0
PROTOCOL_ERROR = 0x1
INTERNAL_ERROR = 0x2
FLOW_CONTROL_ERROR = 0x3
STREAM_CLOSED = 0x5
FRAME_SIZE_ERROR = 0x6
REFUSED_STREAM = 0x7
CANCEL = 0x8
COMPRESSION_ERROR = 0x9
ENHANCE_YOUR_CALM = 0xB

HEADER_TABLE_SIZE = 0x1
ENABLE_PUSH = 0x2
MAX_CONCURRENT_STREAMS = 0x3
INITIAL_WINDOW_SIZE = 0x4
MAX_FRAME_SIZE = 0x5
MAX_HEADER_LIST_SIZE = 0x6
ENABLE_CONNECT_PROTOCOL = 0x8  # RFC 8441

DEFAULT_WINDOW = 65535
DEFAULT_FRAME_SIZE = 1 << 14
WINDOW_MAX = 2**31 - 1
LAST_STREAM_ID = 2**31 - 1

FRAME_HEAD = Struct(">HBBBL")  # length is 24 bits: its upper 16, its lower 8
_NUMBER = Struct(">L")
_TWO_NUMBERS = Struct(">LL")
_SETTING = Struct(">HL")


class ConnectionFault(Exception):  # noqa: N818 - what the peer did; RFC 9113 calls it a connection error
    """The peer broke the rules in a way that ends the connection. code: for GOAWAY."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class StreamFault(Exception):  # noqa: N818 - as above
    """The peer broke the rules in a way that ends one stream. code: for RST_STREAM."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    size = len(payload)
    return FRAME_HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream_id) + payload


def headers(stream_id: int, block: bytes, end_stream: bool, frame_size: int) -> bytes:
    """Return HEADERS, with as many CONTINUATION as it takes."""
    return _in_pieces(HEADERS, END_STREAM if end_stream else 0, stream_id, b"", block, frame_size)


def push_promise(stream_id: int, promised_id: int, block: bytes, frame_size: int) -> bytes:
    return _in_pieces(PUSH_PROMISE, 0, stream_id, _NUMBER.pack(promised_id), block, frame_size)


def _in_pieces(kind: int, flags: int, stream_id: int, before: bytes, block: bytes, frame_size: int) -> bytes:
    if len(before) + len(block) <= frame_size:
        return frame(kind, flags | END_HEADERS, stream_id, before + block)
    cut = frame_size - len(before)
    pieces = [frame(kind, flags, stream_id, before + block[:cut])]
    while cut < len(block):
        piece = block[cut : cut + frame_size]
        cut += len(piece)
        pieces.append(frame(CONTINUATION, END_HEADERS if cut == len(block) else 0, stream_id, piece))
    return b"".join(pieces)


def settings(values: Iterable[tuple[int, int]]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*pair) for pair in values))


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    if len(payload) % _SETTING.size:
        raise ConnectionFault(FRAME_SIZE_ERROR, "a SETTINGS frame of odd length")
    return [(number, value) for number, value in _SETTING.iter_unpack(payload)]


def rst_stream(stream_id: int, code: int) -> bytes:
    return frame(RST_STREAM, 0, stream_id, _NUMBER.pack(code))


def window_update(stream_id: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream_id, _NUMBER.pack(increment))


def goaway(last_stream_id: int, code: int) -> bytes:
    return frame(GOAWAY, 0, 0, _TWO_NUMBERS.pack(last_stream_id, code))


def unpadded(payload: bytes, flags: int) -> bytes:
    """Return a payload without its padding."""
    if not flags & PADDED:
        return payload
    if not payload:
        raise ConnectionFault(FRAME_SIZE_ERROR, "a padded frame without the length of its padding")
    if payload[0] >= len(payload):
        raise ConnectionFault(PROTOCOL_ERROR, "more padding than frame")
    return payload[1 : len(payload) - payload[0]]


SETTINGS_ACK = frame(SETTINGS, ACK, 0)
