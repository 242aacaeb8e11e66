"""HTTP/2 as raw frames: what a client may and may not send, after RFC 9113 and RFC 7541, and what must come of it.

The same ground as h2spec covers, and its rule: where a connection error is due, the server may also just end the
connection; where a stream error is due, it may make it one of the connection.
"""

from __future__ import annotations

import contextlib
import socket
import time
from dataclasses import dataclass

import hpack
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
)

from .http import Address

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
NO_ERROR, PROTOCOL, INTERNAL, FLOW, TIMEOUT, CLOSED, SIZE, REFUSED, CANCEL, COMPRESSION, CONNECT, CALM = range(12)
LARGEST = 16384


@dataclass(frozen=True)
class Case:
    """section: of RFC 9113, or of RFC 7541 with "hpack" before it. data: what is sent behind preface and SETTINGS.
    expected: "answer" (200 on stream 1), "ping" (our PING is acknowledged), "stream" or "connection" (error), "error"
    (a stream error or a response of 4xx). codes: those that will do."""

    section: str
    what: str
    data: bytes
    expected: str
    codes: tuple[int, ...] = (PROTOCOL,)
    preface: bytes = PREFACE + SettingsFrame(0).serialize()


CASES: list[Case] = []


def field(name: bytes, value: bytes) -> bytes:
    """A literal field without indexing and without Huffman coding."""
    assert len(name) < 127 and len(value) < 127
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def fields(*pairs: tuple[bytes, bytes], method: bytes = b"GET", path: bytes = b"/", host: bytes = b"a") -> bytes:
    first = ((b":method", method), (b":scheme", b"http"), (b":path", path), (b":authority", host))
    return b"".join(field(name, value) for name, value in (*first, *pairs))


def headers(stream: int = 1, block: bytes | None = None, end: bool = True, whole: bool = True) -> bytes:
    flags = [name for name, said in (("END_STREAM", end), ("END_HEADERS", whole)) if said]
    return HeadersFrame(stream, data=fields() if block is None else block, flags=flags).serialize()


def raw(kind: int, flags: int, stream: int, payload: bytes = b"", length: int | None = None) -> bytes:
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def data(stream: int = 1, payload: bytes = b"x", end: bool = True) -> bytes:
    return DataFrame(stream, data=payload, flags=["END_STREAM"] if end else []).serialize()


def reset(stream: int = 1, code: int = CANCEL) -> bytes:
    return RstStreamFrame(stream, code).serialize()


def settings(kind: int, value: int) -> bytes:
    return raw(4, 0, 0, kind.to_bytes(2, "big") + value.to_bytes(4, "big"))


def window(stream: int, by: int) -> bytes:
    return raw(8, 0, stream, by.to_bytes(4, "big"))


def more(stream: int = 1, block: bytes = b"", whole: bool = True) -> bytes:
    return ContinuationFrame(stream, data=block, flags=["END_HEADERS"] if whole else []).serialize()


PING = PingFrame(0, opaque_data=b"caseping").serialize()
POST = headers(block=fields(method=b"POST", path=b"/upload"), end=False)
PRIORITY = PriorityFrame(3, depends_on=0, stream_weight=9).serialize()


def add(section: str, what: str, sent: bytes, expected: str, *codes: int) -> None:
    CASES.append(Case(section, what, sent, expected, codes or (PROTOCOL,)))


# Connections
CASES.append(Case("3.4", "a preface that is none", b"", "connection", (PROTOCOL,), b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"))
CASES.append(Case("3.4", "no SETTINGS behind the preface", PING, "connection", (PROTOCOL,), PREFACE))
add("3.4", "a request at once", headers(), "answer")
add("4.1", "a frame of an unknown kind is ignored", raw(0x16, 0, 0, b"12345678") + PING, "ping")
add("4.1", "unknown flags are ignored", raw(6, 0x16, 0, b"caseping"), "ping")
add("4.1", "the reserved bit is ignored", raw(6, 0, 1 << 31, b"caseping"), "ping")
add("4.2", "DATA of the largest size", POST + data(payload=b"x" * LARGEST), "answer")
add("4.2", "DATA larger than allowed", POST + data(payload=b"x" * (LARGEST + 1)), "stream", SIZE)
add("4.2", "HEADERS larger than allowed", headers(block=fields(*[(b"x", b"y" * 100)] * 160)), "connection", SIZE)
add("4.2", "SETTINGS announced with 16 MB", raw(4, 0, 0, length=(1 << 24) - 1), "connection", SIZE)
add("4.2", "a frame of an unknown kind announced with 16 MB", raw(0x16, 0, 0, length=(1 << 24) - 1), "connection", SIZE)
add("4.2", "DATA announced with 16 MB", POST + raw(0, 0, 1, b"x", length=(1 << 24) - 1), "connection", SIZE)
add(
    "4.3",
    "a header block that cannot be decoded",
    headers(block=b"\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff"),
    "connection",
    COMPRESSION,
)
add("4.3", "PRIORITY within a header block", headers(whole=False) + PRIORITY + more(), "connection")
add("4.3", "HEADERS of another stream within a header block", headers(whole=False) + headers(3), "connection")
# Streams
add("5.1", "DATA on an idle stream", data(), "connection")
add("5.1", "RST_STREAM on an idle stream", reset(), "connection")
add("5.1", "WINDOW_UPDATE on an idle stream", window(1, 100), "connection")
add("5.1", "CONTINUATION on an idle stream", more(1, fields()), "connection")
add("5.1", "DATA behind the end of the stream", headers(block=fields(path=b"/slow?s=1")) + data(), "stream", CLOSED)
add(
    "5.1",
    "HEADERS behind the end of the stream",
    headers(block=fields(path=b"/slow?s=1")) + headers(),
    "stream",
    CLOSED,
)
add(
    "5.1",
    "CONTINUATION behind the end of the stream",
    headers(block=fields(path=b"/slow?s=1")) + more(),
    "connection",
    CLOSED,
    PROTOCOL,
)
add("5.1", "DATA behind our RST_STREAM", POST + reset() + data(), "stream", CLOSED)
add("5.1", "HEADERS behind our RST_STREAM", POST + reset() + headers(), "stream", CLOSED, PROTOCOL)
add("5.1", "CONTINUATION behind our RST_STREAM", POST + reset() + more(), "connection", CLOSED, PROTOCOL)
add("5.1", "WINDOW_UPDATE and RST_STREAM behind the end are taken", headers() + window(1, 1) + PING, "ping")
add("5.1.1", "a stream of an even number", headers(2), "connection")
add("5.1.1", "a stream of a smaller number", headers(5) + headers(3), "connection", PROTOCOL, CLOSED)
add(
    "5.1.2",
    "more streams than allowed",
    b"".join(headers(n, fields(path=b"/slow?s=5")) for n in range(1, 400, 2)),
    "stream",
    PROTOCOL,
    REFUSED,
)
add("5.3.2", "PRIORITY is taken", PRIORITY + headers(), "answer")
add("5.4.1", "the connection is closed behind a connection error", data() + PING, "connection")
add(
    "5.5", "an unknown frame within a header block", headers(whole=False) + raw(0x16, 0, 0, b"x") + more(), "connection"
)
# Frames
add("6.1", "DATA on stream 0", raw(0, 0, 0, b"x"), "connection")
add("6.1", "DATA with more padding than there is", POST + raw(0, 0x8, 1, b"\x06xxxx"), "connection")
add("6.1", "DATA of padding alone", POST + raw(0, 0x9, 1, b"\x04xxxx"), "answer")
add("6.2", "HEADERS on stream 0", raw(1, 0x5, 0, fields()), "connection")
add("6.2", "HEADERS with more padding than there is", raw(1, 0xD, 1, b"\xff" + fields()), "connection")
add(
    "6.2",
    "HEADERS with padding and priority",
    raw(1, 0x2D, 1, b"\x02\x00\x00\x00\x00\x10" + fields() + b"\0\0"),
    "answer",
)
add("6.3", "PRIORITY on stream 0", raw(2, 0, 0, b"\x00\x00\x00\x00\x10"), "connection")
add("6.3", "PRIORITY of a wrong size", raw(2, 0, 1, b"\x00\x00\x00\x01"), "stream", SIZE)
add("6.4", "RST_STREAM on stream 0", raw(3, 0, 0, b"\x00\x00\x00\x08"), "connection")
add("6.4", "RST_STREAM of a wrong size", POST + raw(3, 0, 1, b"\x00\x00\x00"), "connection", SIZE)
add("6.5", "SETTINGS with ACK and a payload", raw(4, 1, 0, b"\x00\x03\x00\x00\x00\x64"), "connection", SIZE)
add("6.5", "SETTINGS on a stream", raw(4, 0, 1, b"\x00\x03\x00\x00\x00\x64"), "connection")
add("6.5", "SETTINGS of a wrong size", raw(4, 0, 0, b"\x00\x03\x00"), "connection", SIZE)
add("6.5.2", "SETTINGS_ENABLE_PUSH of 2", settings(2, 2), "connection")
add("6.5.2", "SETTINGS_INITIAL_WINDOW_SIZE above 2^31-1", settings(4, 1 << 31), "connection", FLOW)
add("6.5.2", "SETTINGS_MAX_FRAME_SIZE below 2^14", settings(5, 16383), "connection")
add("6.5.2", "SETTINGS_MAX_FRAME_SIZE above 2^24-1", settings(5, 1 << 24), "connection")
add("6.5.2", "an unknown setting is ignored", settings(0xFF, 1) + PING, "ping")
add("6.6", "PUSH_PROMISE by a client", headers() + raw(5, 4, 1, b"\x00\x00\x00\x02" + fields()), "connection")
add("6.7", "PING is acknowledged", PING, "ping")
add("6.7", "PING on a stream", raw(6, 0, 1, b"caseping"), "connection")
add("6.7", "PING of a wrong size", raw(6, 0, 0, b"case"), "connection", SIZE)
add("6.8", "GOAWAY on a stream", raw(7, 0, 1, bytes(8)), "connection")
add("6.8", "requests behind our GOAWAY are still answered", headers() + GoAwayFrame(0, 0, 0).serialize(), "answer")
add("6.9", "WINDOW_UPDATE of 0 for the connection", window(0, 0), "connection")
add("6.9", "WINDOW_UPDATE of 0 for a stream", POST + window(1, 0), "stream")
add("6.9", "WINDOW_UPDATE of a wrong size", raw(8, 0, 0, b"\x00\x00\x01"), "connection", SIZE)
add("6.9.1", "a window of the connection above 2^31-1", window(0, (1 << 31) - 1) * 2, "connection", FLOW)
add("6.9.1", "a window of a stream above 2^31-1", POST + window(1, (1 << 31) - 1) * 2, "stream", FLOW)
add("6.9.2", "a window made larger by SETTINGS", settings(4, 0) + headers() + settings(4, 65535), "answer")
add(
    "6.9.2",
    "a window made too large by SETTINGS",
    POST + window(1, 1 << 30) + settings(4, (1 << 31) - 1),
    "connection",
    FLOW,
)
add(
    "6.10",
    "a header block in several frames",
    headers(block=fields()[:9], whole=False) + more(1, fields()[9:20], False) + more(1, fields()[20:]),
    "answer",
)
add("6.10", "DATA within a header block", headers(whole=False) + data(), "connection")
add("6.10", "CONTINUATION on stream 0", headers(whole=False) + raw(9, 4, 0, b""), "connection")
add(
    "6.10",
    "CONTINUATION behind a complete header block",
    headers(block=fields(path=b"/slow?s=1"), end=False) + more(),
    "connection",
    PROTOCOL,
    CLOSED,
)
add("6.10", "CONTINUATION behind DATA", POST + data(end=False) + more(), "connection", PROTOCOL, CLOSED)
add("7", "RST_STREAM with an unknown code", POST + reset(1, 0xFF) + PING, "ping")
# Requests
add("8.1", "a second HEADERS that does not end the stream", POST + headers(end=False), "stream")
add("8.1", "trailers", POST + data(end=False) + headers(block=field(b"x-trailer", b"y")), "answer")
add("8.1", "pseudo-fields in trailers", POST + data(end=False) + headers(block=field(b":method", b"GET")), "stream")
for what, block in (
    ("an upper-case name", fields((b"X-Name", b"y"))),
    ("an empty name", fields((b"", b"y"))),
    ("a space in a name", fields((b"x name", b"y"))),
    ("a colon in a name", fields((b"x:name", b"y"))),
    ("CR LF in a name", fields((b"x\r\ny", b"y"))),
    ("NUL in a name", fields((b"x\0", b"y"))),
    ("CR in a value", fields((b"x", b"a\rb"))),
    ("LF in a value", fields((b"x", b"a\nb"))),
    ("NUL in a value", fields((b"x", b"a\0b"))),
    ("a space before a value", fields((b"x", b" a"))),
    ("a tab behind a value", fields((b"x", b"a\t"))),
):
    add("8.2.1", what, headers(block=block), "error")
for name, value in (
    (b"connection", b"close"),
    (b"keep-alive", b"1"),
    (b"proxy-connection", b"close"),
    (b"transfer-encoding", b"chunked"),
    (b"upgrade", b"h2c"),
):
    add("8.2.2", name.decode(), headers(block=fields((name, value))), "error")
add("8.2.2", "te: gzip", headers(block=fields((b"te", b"gzip"))), "error")
add("8.2.2", "te: trailers", headers(block=fields((b"te", b"trailers"))), "answer")
REQUIRED = {b":method": b"GET", b":scheme": b"http", b":path": b"/", b":authority": b"a"}
for name in (b":method", b":scheme", b":path"):
    without = b"".join(field(key, value) for key, value in REQUIRED.items() if key != name)
    add("8.3.1", f"no {name.decode()}", headers(block=without), "error")
    add("8.3.1", f"{name.decode()} twice", headers(block=field(name, REQUIRED[name]) + fields()), "error")
add("8.3.1", ":authority twice", headers(block=field(b":authority", b"a") + fields()), "error")
add("8.3.1", "an empty :path", headers(block=fields(path=b"")), "error")
add("8.3.1", "a :path without a slash", headers(block=fields(path=b"x")), "error")
add("8.3.1", "a :path with a space", headers(block=fields(path=b"/a HTTP/1.1")), "error")
add("8.3.1", "a :path with a line break", headers(block=fields(path=b"/a\r\nx: y")), "error")
add("8.3.1", "a :method with a line break", headers(block=fields(method=b"GET / HTTP/1.1\r\nx: y")), "error")
add("8.3.1", "Host that is not :authority", headers(block=fields((b"host", b"b"))), "error")
add("8.3", "an unknown pseudo-field", headers(block=field(b":test", b"x") + fields()), "error")
add("8.3", ":status in a request", headers(block=field(b":status", b"200") + fields()), "error")
add("8.3", "a pseudo-field behind an ordinary one", headers(block=field(b"x", b"y") + fields()), "error")
add(
    "8.1.1",
    "less DATA than content-length",
    headers(block=fields((b"content-length", b"5"), method=b"POST", path=b"/upload"), end=False) + data(),
    "error",
)
add(
    "8.1.1",
    "more DATA than content-length",
    headers(block=fields((b"content-length", b"1"), method=b"POST", path=b"/upload"), end=False) + data(payload=b"xx"),
    "error",
)
add(
    "8.1.1",
    "more DATA than content-length in two frames",
    headers(block=fields((b"content-length", b"1"), method=b"POST", path=b"/upload"), end=False)
    + data(end=False)
    + data(),
    "error",
)
add(
    "8.1.1",
    "two content-lengths",
    headers(
        block=fields((b"content-length", b"1"), (b"content-length", b"2"), method=b"POST", path=b"/upload"), end=False
    )
    + data(),
    "error",
)
add(
    "8.1.1",
    "a content-length that is no number",
    headers(block=fields((b"content-length", b"+1"), method=b"POST", path=b"/upload"), end=False) + data(),
    "error",
)
add(
    "8.1.1",
    "a content-length without DATA",
    headers(block=fields((b"content-length", b"5"), method=b"POST", path=b"/upload")),
    "error",
)
# HPACK
add("hpack 2.3.3", "an index beyond the table", headers(block=fields() + b"\xff\x80\x01"), "connection", COMPRESSION)
add("hpack 4.2", "a size update at the end of a block", headers(block=fields() + b"\x20"), "connection", COMPRESSION)
add("hpack 5.1", "an integer without end", headers(block=fields() + b"\xff" + b"\xff" * 20), "connection", COMPRESSION)
add(
    "hpack 5.2",
    "Huffman padding of more than 7 bits",
    headers(block=fields() + b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff"),
    "connection",
    COMPRESSION,
)
add(
    "hpack 5.2",
    "Huffman padding of zeros",
    headers(block=fields() + b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90"),
    "connection",
    COMPRESSION,
)
add(
    "hpack 5.2",
    "EOS in a Huffman string",
    headers(block=fields() + b"\x00\x85\xf2\xb2\x4a\x84\xff\x87\x49\x51\xff\xff\xff\xfa\x7f"),
    "connection",
    COMPRESSION,
)
add(
    "hpack 5.2", "a string longer than the block", headers(block=fields() + b"\x00\x01x\x7e"), "connection", COMPRESSION
)
add("hpack 6.1", "index 0", headers(block=fields() + b"\x80"), "connection", COMPRESSION)
add(
    "hpack 6.3", "a table larger than allowed", headers(block=b"\x3f\xe1\xff\x03" + fields()), "connection", COMPRESSION
)


# What comes back

CODES = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
]
DEADLINE_S = 5.0

#: What Hypercorn and h2 do otherwise, with --http hypercorn: what comes instead will do there as well.
KNOWN: dict[str, str] = {
    "a header block that cannot be decoded": "GOAWAY PROTOCOL_ERROR",
    "requests behind our GOAWAY are still answered": "closed",
    "a :path without a slash": "404",
    "a :path with a space": "404",
    "a content-length without DATA": "200",
    **{case.what: "GOAWAY PROTOCOL_ERROR" for case in CASES if case.section.startswith("hpack")},
}


def outcome(address: Address, case: Case) -> str:
    """In words; "nothing" where neither an answer nor an error came in time."""
    assert not isinstance(address, str)
    decoder = hpack.Decoder()
    with socket.create_connection(address, 10) as sock:
        with contextlib.suppress(OSError):
            sock.sendall(case.preface + case.data)
        buffer, end, ended = b"", time.monotonic() + DEADLINE_S, ""
        while (left := end - time.monotonic()) > 0:
            sock.settimeout(left)
            try:
                data = sock.recv(1 << 16)
            except TimeoutError:
                break
            except OSError:
                data = b""
            if not data:
                return ended or "closed"
            buffer += data
            while len(buffer) >= 9 and len(buffer) >= 9 + int.from_bytes(buffer[:3], "big"):
                size = 9 + int.from_bytes(buffer[:3], "big")
                kind, flags, stream, payload = buffer[3], buffer[4], int.from_bytes(buffer[5:9], "big"), buffer[9:size]
                buffer = buffer[size:]
                if kind == 1:
                    status = dict(decoder.decode(payload))[":status"]
                    if case.expected in ("answer", "error") and stream == 1:
                        return str(status)
                elif kind == 3 and case.expected in ("stream", "error", "answer", "ping"):
                    return f"RST_STREAM {CODES[int.from_bytes(payload[:4], 'big')]}"
                elif kind == 6 and flags & 1 and case.expected == "ping":
                    return "PING acknowledged" if payload == b"caseping" else "PING acknowledged wrongly"
                elif kind == 7 and not ended:
                    ended = f"GOAWAY {CODES[int.from_bytes(payload[4:8], 'big')]}"
        return f"{ended}, left open" if ended else "nothing"


def accepted(case: Case) -> set[str]:
    """The outcomes the RFC allows."""
    codes = [CODES[code] for code in case.codes]
    connection = {"closed", *(f"GOAWAY {code}" for code in codes)}
    stream = connection | {f"RST_STREAM {code}" for code in codes}
    return {
        "answer": {"200"},
        "ping": {"PING acknowledged"},
        "connection": connection,
        "stream": stream,
        "error": stream | {"400", "413", "431", "501"},
    }[case.expected]
