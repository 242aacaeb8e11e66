"""What the Autobahn test suite's fuzzing client asks of a WebSocket server that echoes, as raw bytes with the outcome.

Written anew after the suite's descriptions, section by section; its cases of size and speed (9) are sampled. A good
case ends with a close frame of ours once everything came back, so each case ends with the end of its connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import zlib
from dataclasses import dataclass, field
from typing import Any

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
KEY = b"\x37\xfa\x21\x3d"
SECTIONS = {
    1: "framing",
    2: "pings and pongs",
    3: "reserved bits",
    4: "opcodes",
    5: "fragmentation",
    6: "UTF-8",
    7: "close handshake",
    9: "sizes (sampled)",
    10: "fragments beside size",
    12: "compression",
    13: "compression, parameters",
    14: "compression, broken",
}


def frame(opcode: int, payload: bytes = b"", fin: bool = True, rsv: int = 0, mask: bytes | None = KEY) -> bytes:
    size = len(payload)
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    bit = 0x80 if mask is not None else 0
    if size < 126:
        head += bytes([bit | size])
    elif size < 1 << 16:
        head += bytes([bit | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([bit | 127]) + size.to_bytes(8, "big")
    if mask is None:
        return head + payload
    repeated = (mask * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return head + mask + masked.to_bytes(size, "big")


def close(code: int | None = None, reason: bytes = b"") -> bytes:
    return frame(CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason)


def fragments(opcode: int, payload: bytes, size: int, rsv: int = 0) -> bytes:
    pieces = [payload[at : at + size] for at in range(0, len(payload), size)]
    last = len(pieces) - 1
    return b"".join(
        frame(0 if index else opcode, piece, index == last, 0 if index else rsv) for index, piece in enumerate(pieces)
    )


@dataclass(frozen=True)
class Case:
    """sent: the bytes. messages, pongs: what comes back. code: of the server's close frame; None: it has none.

    chop: bytes per write, 0 for all at once. offer: of permessage-deflate; answer: what is agreed on then.
    fails: the server has to end the connection because of what was sent. last: what is sent when all came back.
    """

    name: str
    sent: bytes
    messages: tuple[str | bytes, ...] = ()
    pongs: tuple[bytes, ...] = ()
    code: int | None = 1000
    chop: int = 0
    offer: str = ""
    answer: str = ""
    fails: bool = False
    last: bytes = b""

    @property
    def section(self) -> int:
        return int(self.name.split(".")[0])


CASES: list[Case] = []


def good(name: str, sent: bytes, *messages: str | bytes, pongs: tuple[bytes, ...] = (), **more: Any) -> None:
    CASES.append(Case(name, sent, messages, pongs, last=close(1000), **more))


def bad(name: str, sent: bytes, *messages: str | bytes, code: int = 1002, **more: Any) -> None:
    CASES.append(Case(name, sent, messages, code=code, fails=True, **more))


def ends(name: str, sent: bytes, code: int | None, *messages: str | bytes, **more: Any) -> None:
    CASES.append(Case(name, sent, messages, code=code, **more))


# 1 Framing
for _part, _size in enumerate((0, 125, 126, 127, 128, 65535, 65536), 1):
    good(f"1.1.{_part}", frame(TEXT, b"*" * _size), "*" * _size)
    good(f"1.2.{_part}", frame(BINARY, b"\xfe" * _size), b"\xfe" * _size)
good("1.1.8", frame(TEXT, b"*" * 65536), "*" * 65536, chop=997)
good("1.2.8", frame(BINARY, b"\xfe" * 65536), b"\xfe" * 65536, chop=997)
bad("1.3.1 a frame without mask", frame(TEXT, b"hello", mask=None))
bad("1.3.2 a ping without mask", frame(PING, b"hello", mask=None))
bad("1.3.3 a length of 2 bytes that needs 1", b"\x81\xfe\x00\x05" + KEY + b"hello")
bad("1.3.4 a length of 8 bytes that needs 2", b"\x81\xff" + (300).to_bytes(8, "big") + KEY + b"x" * 300)
bad("1.3.5 a length with its highest bit set", b"\x82\xff" + (1 << 63).to_bytes(8, "big") + KEY)

# 2 Pings and pongs
_MAX = b"\xfe" * 125
good("2.1", frame(PING), pongs=(b"",))
good("2.2", frame(PING, b"Hello, world!"), pongs=(b"Hello, world!",))
good("2.3", frame(PING, b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"), pongs=(b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff",))
good("2.4", frame(PING, _MAX), pongs=(_MAX,))
bad("2.5", frame(PING, b"\xfe" * 126))
good("2.6", frame(PING, _MAX), pongs=(_MAX,), chop=1)
good("2.7", frame(PONG))
good("2.8", frame(PONG, b"unsolicited pong payload"))
good("2.9", frame(PONG, b"unsolicited pong payload") + frame(PING, b"ping payload"), pongs=(b"ping payload",))
_TEN = tuple(b"payload-%d" % _n for _n in range(10))
good("2.10", b"".join(frame(PING, _payload) for _payload in _TEN), pongs=_TEN)
good("2.11", b"".join(frame(PING, _payload) for _payload in _TEN), pongs=_TEN, chop=1)

# 3 Reserved bits
_HELLO = frame(TEXT, b"Hello, world!")
bad("3.1", frame(TEXT, b"Hello, world!", rsv=1))
bad("3.2", _HELLO + frame(TEXT, b"Hello, world!", rsv=2) + frame(PING), "Hello, world!")
bad("3.3", _HELLO + frame(TEXT, b"Hello, world!", rsv=3) + frame(PING), "Hello, world!", chop=7)
bad("3.4", _HELLO + frame(TEXT, b"Hello, world!", rsv=4) + frame(PING), "Hello, world!", chop=1)
bad("3.5", frame(BINARY, b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", rsv=5))
bad("3.6", frame(PING, b"Hello, world!", rsv=6))
bad("3.7", frame(CLOSE, b"\x03\xe8", rsv=7))

# 4 Opcodes
for _part, _opcode in enumerate((3, 4, 5, 6, 7), 1):
    _before = _part > 2
    _sent = (_HELLO if _before else b"") + frame(_opcode, b"x" * (_part % 2)) + (frame(PING) if _before else b"")
    bad(f"4.1.{_part}", _sent, *(("Hello, world!",) if _before else ()), chop=1 if _part == 5 else 0)
    _sent = (_HELLO if _before else b"") + frame(_opcode + 8, b"x" * (_part % 2)) + (frame(PING) if _before else b"")
    bad(f"4.2.{_part}", _sent, *(("Hello, world!",) if _before else ()), chop=1 if _part == 5 else 0)

# 5 Fragmentation
_ONE, _TWO = frame(TEXT, b"fragment1", False), frame(0, b"fragment2")
_BOTH = "fragment1fragment2"
_ASIDE = frame(PING, b"ping payload")
bad("5.1", frame(PING, b"fragment1", False) + _TWO)
bad("5.2", frame(PONG, b"fragment1", False) + _TWO)
good("5.3", _ONE + _TWO, _BOTH)
good("5.4", _ONE + _TWO, _BOTH, chop=8)
good("5.5", _ONE + _TWO, _BOTH, chop=1)
good("5.6", _ONE + _ASIDE + _TWO, _BOTH, pongs=(b"ping payload",))
good("5.7", _ONE + _ASIDE + _TWO, _BOTH, pongs=(b"ping payload",), chop=8)
good("5.8", _ONE + _ASIDE + _TWO, _BOTH, pongs=(b"ping payload",), chop=1)
for _part, _fin in ((9, True), (12, False)):
    for _offset, _chop in enumerate((0, 8, 1)):
        bad(f"5.{_part + _offset}", frame(0, b"non-continuation payload", _fin) + _HELLO, chop=_chop)
bad("5.15", _ONE + _TWO + frame(0, b"fragment3", False) + frame(TEXT, b"fragment4"), _BOTH)
bad("5.16", (frame(0, b"fragment1", False) + frame(TEXT, b"fragment2", False) + frame(0, b"fragment3")) * 2)
bad("5.17", (frame(0, b"fragment1") + frame(TEXT, b"fragment2", False) + frame(0, b"fragment3")) * 2)
bad("5.18", _ONE + frame(TEXT, b"fragment2"))
_FIVE = (
    _ONE + frame(0, b"fragment2", False) + frame(PING, b"pongme 1!") + frame(0, b"fragment3", False)
    + frame(0, b"fragment4", False) + frame(PING, b"pongme 2!") + frame(0, b"fragment5")
)  # fmt: skip
for _part, _chop in ((19, 0), (20, 1)):
    good(
        f"5.{_part}",
        _FIVE,
        "".join(f"fragment{_n}" for _n in range(1, 6)),
        pongs=(b"pongme 1!", b"pongme 2!"),
        chop=_chop,
    )

# 6 UTF-8
_KOSME = "Hello-µ@ßöäüàá-UTF-8!!"
good("6.1.1", frame(TEXT), "")
good("6.1.2", frame(TEXT, b"", False) + frame(0, b"", False) + frame(0), "")
good("6.1.3", frame(TEXT, b"", False) + frame(0, b"middle frame payload", False) + frame(0), "middle frame payload")
good("6.2.1", frame(TEXT, _KOSME.encode()), _KOSME)
good("6.2.2", fragments(TEXT, _KOSME.encode(), 12), _KOSME)
good("6.2.3", fragments(TEXT, _KOSME.encode(), 1), _KOSME)
good("6.2.4", fragments(TEXT, "κόσμε".encode(), 1), "κόσμε")
_GREEK = "κόσμε".encode()
_SURROGATE = _GREEK + b"\xed\xa0\x80" + b"edited"
bad("6.3.1", frame(TEXT, _SURROGATE), code=1007)
bad("6.3.2", fragments(TEXT, _SURROGATE, 1), code=1007)
_BEYOND = _GREEK + b"\xf4\x90\x80\x80"
# Fail-fast: nothing more is sent behind the octet at which it can be known.
bad("6.4.1", frame(TEXT, _GREEK, False) + frame(0, b"\xf4\x90\x80\x80", False), code=1007)
bad("6.4.2", frame(TEXT, _BEYOND[:12], False) + frame(0, _BEYOND[12:13], False), code=1007)
bad("6.4.3", frame(TEXT, _BEYOND + b"edited")[: 6 + len(_BEYOND)], code=1007)
bad("6.4.4", frame(TEXT, _BEYOND + b"edited")[: 6 + len(_GREEK) + 2], code=1007, chop=1)
_VALID = {
    5: ["κόσμε", "κό", "κόσ"],
    6: ["\x00", "\u0080", "\u0800", "\U00010000"],
    7: ["\x7f", "\u07ff", "\uffff", "\U0010ffff"],
    9: ["\ud7ff", "\ue000", "\ufffd", "\U0010ffff"],
    22: [chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF)],
    23: ["\ufff9", "\ufffa", "\ufffb", "\ufffc", "\ufffd", "\ufffe", "\uffff"],
}
for _group, _texts in _VALID.items():
    for _part, _text in enumerate(_texts, 1):
        good(f"6.{_group}.{_part}", frame(TEXT, _text.encode()), _text)
_INVALID = {
    5: ["ce", "cebae1", "cebae1bdb9cf83cebcceb5ed", "cebae1bd"],
    6: ["f888808080", "fc8480808080"],
    8: ["f7bfbfbf", "fbbfbfbfbf", "fdbfbfbfbfbf"],
    9: ["f4908080"],
    10: ["80", "bf"],
    11: ["80bf" * n for n in range(1, 4)] + [bytes(range(0x80, 0xC0)).hex()],
    12: ["".join(f"{n:02x}20" for n in span) for span in (range(0xC0, 0xE0), range(0xE0, 0xF0), range(0xF0, 0xF8))]
    + ["f820f920fa20fb20", "fc20fd20"],
    13: ["c0", "e080", "f08080", "f8808080", "fc80808080", "df", "efbf", "f7bfbf", "fbbfbfbf", "fdbfbfbfbf"],
    14: ["c0e080f08080f8808080fc80808080dfefbff7bfbffbbfbfbffdbfbfbfbf"],
    15: ["fe", "ff", "fefeffff"],
    16: ["c0af", "e080af", "f08080af", "f8808080af", "fc80808080af"],
    17: ["c1bf", "e09fbf", "f08fbfbf", "f887bfbfbf", "fc83bfbfbfbf"],
    18: ["c080", "e08080", "f0808080", "f880808080", "fc8080808080"],
    20: ["eda080", "edadbf", "edae80", "edafbf", "edb080", "edbe80", "edbfbf"],
    21: [
        "eda080edb080",
        "eda080edbfbf",
        "edadbfedb080",
        "edadbfedbfbf",
        "edae80edb080",
        "edaebfedbfbf",
        "edafbfedb080",
    ],
}
for _group, _texts in _INVALID.items():
    for _part, _text in enumerate(_texts, 1):
        bad(f"6.{_group}.bad.{_part}", frame(TEXT, bytes.fromhex(_text)), code=1007)

# 7 Close handshake
good("7.1.1", _HELLO, "Hello, world!")
ends("7.1.2", close(1000) + close(1000), 1000)
ends("7.1.3", close(1000) + frame(PING), 1000)
ends("7.1.4", close(1000) + _HELLO, 1000)
ends("7.1.5", frame(TEXT, b"fragment1", False) + close(1000) + frame(0, b"fragment2"), 1000)
ends("7.1.6", frame(TEXT, b"BAsd7&jh23" * 26214) + _HELLO + close(1000), 1000, "BAsd7&jh23" * 26214, "Hello, world!")
ends("7.3.1", close(), None)
bad("7.3.2", frame(CLOSE, b"a"))
ends("7.3.3", close(1000), 1000)
ends("7.3.4", close(1000, b"Hello World!"), 1000)
ends("7.3.5", close(1000, b"*" * 123), 1000)
bad("7.3.6", close(1000, b"*" * 124))
bad("7.5.1", close(1000, _SURROGATE), code=1007)
for _part, _code in enumerate((1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999), 1):
    ends(f"7.7.{_part}", close(_code), _code)
for _part, _code in enumerate((0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535), 1):
    bad(f"7.9.{_part}", close(_code))

# 9 Sizes
for _part, _size in enumerate((1 << 16, 1 << 18, 1 << 20), 1):
    good(f"9.1.{_part}", frame(TEXT, b"a" * _size), "a" * _size)
    good(f"9.2.{_part}", frame(BINARY, b"\xfe" * _size), b"\xfe" * _size)
for _part, _size in enumerate((64, 1024, 4096, 1 << 16), 1):
    good(f"9.3.{_part}", fragments(TEXT, b"a" * (1 << 20), _size), "a" * (1 << 20))
    good(f"9.4.{_part}", fragments(BINARY, b"\xfe" * (1 << 20), _size), b"\xfe" * (1 << 20))
for _part, _size in enumerate((64, 1024, 2048), 1):
    good(f"9.5.{_part}", frame(TEXT, b"a" * (1 << 18)), "a" * (1 << 18), chop=_size)
    good(f"9.6.{_part}", frame(BINARY, b"\xfe" * (1 << 18)), b"\xfe" * (1 << 18), chop=_size)
good("9.7.1", frame(TEXT, b"a" * 64) * 1000, *["a" * 64] * 1000)
good("9.8.1", frame(BINARY, b"\xfe" * 256) * 1000, *[b"\xfe" * 256] * 1000)

# 10 Fragments beside size
good("10.1.1", fragments(TEXT, b"*" * 65536, 1300), "*" * 65536)


# 12 and 13 Compression
class Deflate:
    """A client's compressor."""

    def __init__(self, bits: int = 15, takeover: bool = True) -> None:
        self._bits, self._takeover = bits, takeover
        self._zlib = zlib.compressobj(wbits=-bits)

    def __call__(self, data: bytes) -> bytes:
        if not self._takeover:
            self._zlib = zlib.compressobj(wbits=-self._bits)
        return (self._zlib.compress(data) + self._zlib.flush(zlib.Z_SYNC_FLUSH))[:-4]


_JSON = json.dumps([{"id": n, "name": f"item {n}", "tags": ["a", "b", "ü"], "on": n % 2 == 0} for n in range(3000)])
_PMD = "permessage-deflate"
_SIZES = (16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131072)
for _part, _size in enumerate(_SIZES, 1):
    _text = _JSON[:_size].encode().decode()
    _pack = Deflate()
    good(
        f"12.1.{_part}",
        b"".join(frame(TEXT, _pack(_text.encode()), rsv=4) for _ in range(5)),
        *[_text] * 5,
        offer=_PMD,
        answer=_PMD,
    )
    _pack = Deflate()
    _data = bytes(range(256)) * (_size // 256 + 1)
    good(
        f"12.2.{_part}",
        b"".join(frame(BINARY, _pack(_data), rsv=4) for _ in range(5)),
        *[_data] * 5,
        offer=_PMD,
        answer=_PMD,
    )
    _pack = Deflate()
    good(
        f"12.3.{_part}", fragments(TEXT, _pack(_text.encode()), max(1, _size // 20), 4), _text, offer=_PMD, answer=_PMD
    )
_OFFERS = (
    (f"{_PMD}; server_no_context_takeover", f"{_PMD}; server_no_context_takeover", 15, True),
    (f"{_PMD}; server_max_window_bits=9", f"{_PMD}; server_max_window_bits=9", 15, True),
    (f"{_PMD}; server_max_window_bits=15", f"{_PMD}; server_max_window_bits=15", 15, True),
    (f"{_PMD}; client_max_window_bits", f"{_PMD}; client_max_window_bits=15", 15, True),
    (f"{_PMD}; client_max_window_bits=9", f"{_PMD}; client_max_window_bits=9", 9, True),
    (f"{_PMD}; client_no_context_takeover", f"{_PMD}; client_no_context_takeover", 15, False),
    (
        f"{_PMD}; client_no_context_takeover; server_no_context_takeover; client_max_window_bits=10; "
        "server_max_window_bits=11",
        f"{_PMD}; client_no_context_takeover; server_no_context_takeover; client_max_window_bits=10; "
        "server_max_window_bits=11",
        10,
        False,
    ),
    # The first is none that can be taken.
    (f"{_PMD}; server_max_window_bits=8, {_PMD}", _PMD, 15, True),
    (f'x-other; a="b", {_PMD}', _PMD, 15, True),
)
for _part, (_offer, _answer, _bits, _takeover) in enumerate(_OFFERS, 1):
    _pack = Deflate(_bits, _takeover)
    _texts = [_JSON[:2048], _JSON[:2048], "ü", _JSON[500:9000]]
    good(
        f"13.{_part}",
        b"".join(frame(TEXT, _pack(_text.encode()), rsv=4) for _text in _texts),
        *_texts,
        offer=_offer,
        answer=_answer,
    )
for _part, _offer in enumerate(
    (f"{_PMD}; server_max_window_bits=16", f"{_PMD}; unknown", f"{_PMD}; client_max_window_bits=7",
     f"{_PMD}; server_no_context_takeover=1", f"{_PMD}; client_no_context_takeover; client_no_context_takeover",
     "x-webkit-deflate-frame"),
    1,
):  # fmt: skip
    good(f"13.20.{_part}", _HELLO, "Hello, world!", offer=_offer)

# 14 Ours: what compression may and may not
_one = Deflate()(b"Hello")
good(
    "14.1 plain beside compressed", frame(TEXT, _one, rsv=4) + _HELLO, "Hello", "Hello, world!", offer=_PMD, answer=_PMD
)
good(
    "14.2 a ping between",
    frame(TEXT, _one[:3], False, 4) + frame(PING, b"x") + frame(0, _one[3:]),
    "Hello",
    pongs=(b"x",),
    offer=_PMD,
    answer=_PMD,
)
good("14.3 nothing compressed", frame(TEXT, b"\x00", rsv=4), "", offer=_PMD, answer=_PMD)
good("14.4 an empty last fragment", frame(TEXT, _one, False, 4) + frame(0), "Hello", offer=_PMD, answer=_PMD)
good("14.5 octet by octet", frame(TEXT, _one, rsv=4), "Hello", offer=_PMD, answer=_PMD, chop=1)
good(
    "14.6 no compression (RFC 7692 7.2.3.3)",
    frame(TEXT, bytes.fromhex("000500faff48656c6c6f00"), rsv=4),
    "Hello",
    offer=_PMD,
    answer=_PMD,
)
good(
    "14.7 BFINAL (RFC 7692 7.2.3.4), then more",
    frame(TEXT, bytes.fromhex("f348cdc9c9070000"), rsv=4) + frame(TEXT, Deflate()(b"Hello"), rsv=4),
    "Hello",
    "Hello",
    offer=_PMD,
    answer=_PMD,
)
good(
    "14.8 two blocks (RFC 7692 7.2.3.5)",
    frame(TEXT, bytes.fromhex("f248050000 00ffffcac9c90700".replace(" ", "")), rsv=4),
    "Hello",
    offer=_PMD,
    answer=_PMD,
)
bad(
    "14.10 reserved bit on a continuation",
    frame(TEXT, _one[:3], False, 4) + frame(0, _one[3:], rsv=4),
    offer=_PMD,
    answer=_PMD,
)
bad("14.11 reserved bit on a ping", frame(PING, b"x", rsv=4), offer=_PMD, answer=_PMD)
bad("14.12 reserved bit 2", frame(TEXT, _one, rsv=2), offer=_PMD, answer=_PMD)
bad("14.13 not DEFLATE", frame(TEXT, b"\xff" * 20, rsv=4), code=1007, offer=_PMD, answer=_PMD)
bad("14.14 compressed invalid UTF-8", frame(TEXT, Deflate()(b"\xff"), rsv=4), code=1007, offer=_PMD, answer=_PMD)
bad("14.15 a bomb", frame(BINARY, Deflate()(bytes(64 << 20)), rsv=4), code=1009, offer=_PMD, answer=_PMD)
bad("14.16 announced beyond the size", b"\x82\xff" + (1 << 40).to_bytes(8, "big") + KEY, code=1009)
bad("14.17 fragments beyond the size", fragments(BINARY, bytes(17 << 20), 1 << 20), code=1009)


@dataclass
class Outcome:
    """What came back on a connection until its end. code: of the close frame; None: an empty one, -1: no frame."""

    messages: list[str | bytes] = field(default_factory=list)
    pongs: list[bytes] = field(default_factory=list)
    code: int | None = -1
    answer: str = ""
    wrong: str = ""


def handshake(path: str = "/ws", offer: str = "", extra: str = "") -> bytes:
    more = f"Sec-WebSocket-Extensions: {offer}\r\n" if offer else ""
    return (
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}{extra}\r\n"
    ).encode()


class Reading:
    """Reads what a server sends into an Outcome."""

    def __init__(self, head: bytes) -> None:
        self.outcome = Outcome()
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"sec-websocket-extensions":
                self.outcome.answer = value.strip().decode()
        self._forgets = "server_no_context_takeover" in self.outcome.answer
        self._inflater = zlib.decompressobj(-15)
        self._data = bytearray()
        self._whole, self._kind, self._packed = b"", 0, False

    def feed(self, data: bytes) -> None:
        self._data += data
        at = 0
        while len(self._data) - at >= 2:
            first, size = self._data[at], self._data[at + 1]
            start = at + 2
            if size >= 126:
                length = 2 if size == 126 else 8
                if len(self._data) < start + length:
                    break
                size = int.from_bytes(self._data[start : start + length], "big")
                start += length
            if len(self._data) < start + size:
                break
            self._frame(first, bytes(self._data[start : start + size]))
            at = start + size
        del self._data[:at]

    def _frame(self, first: int, payload: bytes) -> None:
        outcome, opcode = self.outcome, first & 15
        if outcome.code != -1:
            outcome.wrong = "a frame behind the close frame"
        if opcode == CLOSE:
            outcome.code = int.from_bytes(payload[:2], "big") if payload else None
        elif opcode == PONG:
            outcome.pongs.append(payload)
        elif opcode in (0, TEXT, BINARY):
            if opcode:
                self._kind, self._packed, self._whole = opcode, bool(first & 0x40), b""
            self._whole += payload
            if first & 0x80:
                if self._packed:
                    self._whole = self._inflater.decompress(self._whole + b"\x00\x00\xff\xff")
                    if self._forgets:
                        self._inflater = zlib.decompressobj(-15)
                outcome.messages.append(self._whole.decode() if self._kind == TEXT else self._whole)
        else:
            outcome.wrong = f"a frame of opcode {opcode}"

    def ended(self) -> Outcome:
        if self._data:
            self.outcome.wrong = "the last frame is cut"
        return self.outcome


def read_outcome(head: bytes, data: bytes) -> Outcome:
    reading = Reading(head)
    reading.feed(data)
    return reading.ended()


def frames_until_end(data: bytes) -> Outcome | None:
    """Return what the frames say if a close frame is among them; None while it is not."""
    outcome = read_outcome(b"", data)
    return None if outcome.code == -1 else outcome


async def run_case(case: Case, port: int, path: str = "/ws", deadline: float = 10.0) -> Outcome:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    try:
        writer.write(handshake(path, case.offer))
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), deadline)
        assert b" 101 " in head.split(b"\r\n")[0], head

        async def push() -> None:
            with contextlib.suppress(ConnectionError):
                step = case.chop or len(case.sent)
                for at in range(0, len(case.sent), step):
                    writer.write(case.sent[at : at + step])
                    if case.chop:
                        await asyncio.sleep(0)
                    await writer.drain()

        reading = Reading(head)
        outcome = reading.outcome

        async def pull() -> None:
            last = case.last
            with contextlib.suppress(ConnectionError):
                while True:
                    came = len(outcome.messages), len(outcome.pongs)
                    if last and came == (len(case.messages), len(case.pongs)):
                        await pushing
                        writer.write(last)
                        last = b""
                    piece = await reader.read(1 << 20)
                    if not piece:
                        return
                    reading.feed(piece)

        pushing = asyncio.ensure_future(push())
        if not case.messages and not case.pongs:
            await pushing
        try:
            await asyncio.wait_for(pull(), deadline)
        except TimeoutError:
            outcome.wrong = "the connection stays open"
            return outcome
        finally:
            pushing.cancel()
        return reading.ended()
    finally:
        writer.transport.abort()


def verdict(case: Case, outcome: Outcome, ours: bool = True) -> str:
    """Return "" where all is as it has to be, "lax: …" for an end without its close frame, else what is wrong.

    ours: what is agreed on has to be the very words of the case, and not merely something that works.
    """
    if outcome.wrong:
        return outcome.wrong
    if ours and outcome.answer != case.answer:
        return f"agreed on {outcome.answer!r} instead of {case.answer!r}"
    # What was still on its way to the app when the connection is failed or closed may be lost.
    lost = not case.last and outcome.messages == list(case.messages[: len(outcome.messages)])
    if outcome.messages != list(case.messages) and not lost:
        return f"other messages: {str(outcome.messages)[:100]} instead of {str(case.messages)[:100]}"
    if outcome.pongs != list(case.pongs):
        return f"other pongs: {outcome.pongs}"
    if outcome.code != case.code:
        if case.fails and outcome.code in (-1, 1002, 1006, 1007, 1009, 1011, None):
            return f"lax: close code {outcome.code} instead of {case.code}"
        return f"close code {outcome.code} instead of {case.code}"
    return ""
