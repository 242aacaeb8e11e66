"""WebSocket frames (RFC 6455 section 5) as a server reads and writes them: bytes in, messages out, no input or output.

What a client may make us hold is bounded by the size of one message: a frame that announces more is refused by its
header, a payload is unmasked, inflated and checked as UTF-8 piece by piece as it arrives, and what a call may work at
is bounded as well, so that no flood of frames holds the event loop.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .deflate import Inflater

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

PROTOCOL_ERROR = 1002
NO_STATUS = 1005
INVALID_TEXT = 1007
POLICY = 1008
TOO_BIG = 1009

WORK_MAX = 1 << 18
"""How much one call of `read` does, in bytes: a millisecond or two; the app, which gets it all, takes as long."""

FRAME_WORK = 256
"""A frame counts as so many bytes of work, however short it is."""

EMPTY_FRAGMENTS_MAX = 1000
"""Fragments without a byte that one message may have: no size bounds them, and nobody needs more than one."""

_XOR_FROM = 400
"""Bytes from which four translated slices are quicker than one long XOR; measured, as is the other."""

# As one large number each, a fiftieth of the time that byte for byte takes.
_ALL_BYTES, _ONES = int.from_bytes(bytes(range(256)), "big"), int.from_bytes(b"\1" * 256, "big")
_TABLES = [(_ALL_BYTES ^ key * _ONES).to_bytes(256, "big") for key in range(256)]
_DECODER = codecs.getincrementaldecoder("utf-8")


Event = tuple[int, str | bytes]
"""Opcode and payload: a whole message (TEXT: str, BINARY: bytes) or a control frame. A plain tuple is made quickest."""


class Fault(NamedTuple):
    """Why the connection has to be failed, as its close frame says."""

    code: int
    reason: str


def unmask(data: bytes, key: bytes) -> bytes:
    """Return `data` with the mask taken off (or put on)."""
    size = len(data)
    if size < _XOR_FROM:
        mask = (key * (size // 4 + 1))[:size]
        return (int.from_bytes(data, "little") ^ int.from_bytes(mask, "little")).to_bytes(size, "little")
    result = bytearray(data)
    for index, byte in enumerate(key):
        if byte:
            result[index::4] = result[index::4].translate(_TABLES[byte])
    return bytes(result)


class FrameReader:
    """Reads one client's frames. Made when the handshake is done.

    max_size: bytes of a message. inflater: where permessage-deflate was agreed on.
    fault: set when the client broke the protocol or a bound; nothing more is read then.
    more: `read` stopped because it had done enough, call it again. ended: a close frame was read.
    """

    __slots__ = (
        "_buffer",
        "_compressed",
        "_decoder",
        "_deflated",
        "_empty",
        "_fin",
        "_inflater",
        "_key",
        "_left",
        "_max_size",
        "_opcode",
        "_rest",
        "_size",
        "_trailer",
        "_unread",
        "ended",
        "fault",
        "more",
    )

    def __init__(self, max_size: int, inflater: Inflater | None = None) -> None:
        self._max_size = max_size
        self._inflater = inflater
        self._rest = b""  # not yet looked at: an incomplete header or control frame, or what `read` had no time for
        self._left = 0  # of the payload of a data frame
        self._key = b""
        self._fin = True
        self._opcode = 0  # of the message under way, 0 between messages
        self._size = 0  # of the message under way: announced bytes, or those inflated
        self._deflated = 0  # bytes announced of a compressed message
        self._empty = 0
        self._buffer = bytearray()
        self._decoder: codecs.IncrementalDecoder | None = None
        self._compressed = False
        self._unread = b""  # compressed bytes that are not inflated yet
        self._trailer = False  # the end of the compressed message has been put into _unread
        self.fault: Fault | None = None
        self.more = False
        self.ended = False

    def keep(self, data: bytes) -> None:
        """Take bytes without reading them yet."""
        self._rest += data
        self.more = True

    @property
    def kept(self) -> int:
        return len(self._rest)

    @property
    def partial(self) -> int:
        """Bytes that are held of a message under way."""
        return len(self._buffer)

    def read(self, data: bytes = b"") -> list[Event]:
        """Return what is complete by now, as far as WORK_MAX goes."""
        if self._rest:
            data = self._rest + data
            self._rest = b""
        events: list[Event] = []
        self.more = False
        if self.fault is None and not self.ended:
            try:
                self._read(data, events)
            except _Failed as failed:
                self.fault = failed.fault
                self._drop()
        return events

    def _read(self, data: bytes, events: list[Event]) -> None:
        at, size, work = 0, len(data), 0
        while True:
            if self._unread:
                work += self._inflate()
                if not self._unread and not self._left and self._fin:
                    self._end_compressed(events)
            elif self._left:
                if at == size:
                    return
                piece = data[at : at + self._left]
                at += len(piece)
                work += len(piece)
                self._take(piece, events)
            else:
                step = self._frame(data, at, size, events)
                if not step:
                    self._rest = data[at:]
                    return
                at += step
                work += FRAME_WORK + step
                if self.ended:
                    return
            if work >= WORK_MAX:
                self._rest = data[at:]
                self.more = bool(self._rest or self._unread)
                return

    def _frame(self, data: bytes, at: int, size: int, events: list[Event]) -> int:
        """Read a frame's header, and its payload where that is there; return how many bytes it took, 0 for none."""
        have = size - at
        if have < 2:
            return 0
        first, length = data[at], data[at + 1]
        opcode = first & 0x0F
        if first & 0x70 and (first & 0x30 or self._inflater is None or opcode not in (TEXT, BINARY)):
            raise _Failed(PROTOCOL_ERROR, "reserved bit set")
        if length < 0x80:
            raise _Failed(PROTOCOL_ERROR, "frame not masked")
        length &= 0x7F
        if opcode >= CLOSE:
            return self._control(data, at, have, first, length, events)
        if opcode > BINARY:
            raise _Failed(PROTOCOL_ERROR, "unknown opcode")
        if not opcode:
            if not self._opcode:
                raise _Failed(PROTOCOL_ERROR, "continuation of nothing")
        elif self._opcode:
            raise _Failed(PROTOCOL_ERROR, "message inside a message")
        header = 6 if length < 126 else 8 if length == 126 else 14
        if have < header:
            return 0
        if header > 6:
            length = _long_length(data[at + 2 : at + header - 4])
        if opcode:
            self._compressed = bool(first & 0x40)
        if self._compressed:
            self._deflated += length
            # What does not compress gets a little longer.
            if self._deflated > self._max_size + (self._max_size >> 8) + 64:
                raise _Failed(TOO_BIG, "message too big")
        elif self._size + length > self._max_size:
            raise _Failed(TOO_BIG, "message too big")
        key = data[at + header - 4 : at + header]
        whole = have >= header + length
        if opcode and first >= 0x80 and whole and not self._compressed:
            payload = unmask(data[at + header : at + header + length], key) if length else b""
            if opcode == TEXT:
                try:
                    events.append((TEXT, payload.decode()))
                except UnicodeDecodeError:
                    raise _Failed(INVALID_TEXT, "invalid UTF-8") from None
            else:
                events.append((BINARY, payload))
            return header + length
        self._key = key
        self._begin_payload(opcode, first >= 0x80, length, events)
        return header

    def _begin_payload(self, opcode: int, fin: bool, length: int, events: list[Event]) -> None:
        """The header of a data frame was read; its payload is to come."""
        if opcode:
            self._opcode = opcode
            if opcode == TEXT:
                self._decoder = _DECODER()
        self._fin = fin
        if not self._compressed:
            self._size += length
        if length:
            self._left = length
            return
        self._empty += 1
        if self._empty > EMPTY_FRAGMENTS_MAX:
            raise _Failed(POLICY, "too many empty fragments")
        if fin:
            self._end_of_payload(events)

    def _control(self, data: bytes, at: int, have: int, first: int, length: int, events: list[Event]) -> int:
        opcode = first & 0x0F
        if first < 0x80:
            raise _Failed(PROTOCOL_ERROR, "fragmented control frame")
        if length > 125:
            raise _Failed(PROTOCOL_ERROR, "control frame too long")
        if opcode > PONG:
            raise _Failed(PROTOCOL_ERROR, "unknown opcode")
        end = 6 + length
        if have < end:
            return 0
        payload = unmask(data[at + 6 : at + end], data[at + 2 : at + 6]) if length else b""
        if opcode == CLOSE:
            _check_close(payload)
            self.ended = True
        events.append((opcode, payload))
        return end

    def _take(self, piece: bytes, events: list[Event]) -> None:
        """Take a piece of a data frame's payload."""
        size = len(piece)
        piece = unmask(piece, self._key)
        self._left -= size
        if self._left:
            turn = size % 4
            self._key = self._key[turn:] + self._key[:turn]
        if self._compressed:
            self._unread = piece  # `_read` inflates it
            return
        self._add(piece)
        if not self._left and self._fin:
            self._end_of_payload(events)

    def _add(self, piece: bytes) -> None:
        if self._decoder is not None:
            try:
                self._decoder.decode(piece)
            except UnicodeDecodeError:
                raise _Failed(INVALID_TEXT, "invalid UTF-8") from None
        self._buffer += piece

    def _end_of_payload(self, events: list[Event]) -> None:
        """The last frame of a message is complete."""
        if self._compressed:
            self._end_compressed(events)
        else:
            self._end_message(events)

    def _inflate(self) -> int:
        """Inflate some of what is compressed; return the work done."""
        inflater = self._inflater
        assert inflater is not None
        try:
            piece, self._unread = inflater.inflate(self._unread, self._max_size - self._size + 1)
        except ValueError:
            raise _Failed(INVALID_TEXT, "invalid compressed data") from None
        self._size += len(piece)
        if self._size > self._max_size:
            raise _Failed(TOO_BIG, "message too big")
        if piece:
            self._add(piece)
        return len(piece) + FRAME_WORK

    def _end_compressed(self, events: list[Event]) -> None:
        inflater = self._inflater
        assert inflater is not None
        if not self._trailer:
            self._trailer = True
            self._unread = inflater.TRAILER
            return
        self._trailer = False
        inflater.end_message()
        self._end_message(events)

    def _end_message(self, events: list[Event]) -> None:
        if self._decoder is not None:
            try:
                self._decoder.decode(b"", True)
            except UnicodeDecodeError:
                raise _Failed(INVALID_TEXT, "invalid UTF-8") from None
            events.append((TEXT, self._buffer.decode()))
        else:
            events.append((BINARY, bytes(self._buffer)))
        self._drop()

    def _drop(self) -> None:
        """Forget the message under way."""
        self._opcode = self._size = self._deflated = self._empty = 0
        self._compressed = False
        self._decoder = None
        self._buffer = bytearray()
        self._unread = b""


class _Failed(Exception):  # noqa: N818 - reads as the fact it is
    def __init__(self, code: int, reason: str) -> None:
        self.fault = Fault(code, reason)


def _long_length(field: bytes) -> int:
    """Return the length that a field of 2 or 8 bytes says (section 5.2)."""
    length = int.from_bytes(field, "big")
    if length < (126 if len(field) == 2 else 1 << 16) or length >> 63:
        raise _Failed(PROTOCOL_ERROR, "length not in its shortest form")
    return length


def may_be_sent(code: int) -> bool:
    """Tell whether a close frame may carry this code (RFC 6455 section 7.4 and the registry)."""
    return 3000 <= code <= 4999 or 1000 <= code <= 1003 or 1007 <= code <= 1014


def _check_close(payload: bytes) -> None:
    if not payload:
        return
    if len(payload) == 1 or not may_be_sent(int.from_bytes(payload[:2], "big")):
        raise _Failed(PROTOCOL_ERROR, "invalid close code")
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        raise _Failed(INVALID_TEXT, "invalid UTF-8") from None


def close_code(payload: bytes) -> tuple[int, str]:
    """Return code and reason of a close frame that was read."""
    return (int.from_bytes(payload[:2], "big"), payload[2:].decode()) if payload else (NO_STATUS, "")


def close_payload(code: int, reason: str = "") -> bytes:
    """Return the payload of a close frame; the reason is cut to what fits, between two characters."""
    return code.to_bytes(2, "big") + reason.encode()[:123].decode(errors="ignore").encode()


def frame_head(opcode: int, size: int, compressed: bool = False) -> bytes:
    """Return what stands before the payload of a whole message or control frame of a server."""
    first = opcode | (0xC0 if compressed else 0x80)
    if size < 126:
        return bytes((first, size))
    if size < 1 << 16:
        return bytes((first, 126)) + size.to_bytes(2, "big")
    return bytes((first, 127)) + size.to_bytes(8, "big")
