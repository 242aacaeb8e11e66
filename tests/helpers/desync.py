"""Requests that two parsers may read differently: the published ways to smuggle one request inside another.

Each vector is what a client sends on one connection. In it `{}` stands for a path of its own, so that what an app sees
can be told apart; `POISON` is the request that must never be seen by an app unless the server's own front end has read
it as a request of that client.
"""

# ruff: noqa: E501 - a vector reads best on one line

from __future__ import annotations

from dataclasses import dataclass

HOST = b"Host: a\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
POISON = b"GET {}/poison HTTP/1.1\r\nHost: a\r\n\r\n"
END = b"0\r\n\r\n"


@dataclass(frozen=True)
class Vector:
    """name: what is done. data: with `{}` for the path. direct: the statuses the lane answers with, in
    order; None where a handshake's answer is another test's affair."""

    name: str
    data: bytes
    direct: tuple[int, ...] | None

    def sent(self, path: str) -> bytes:
        return self.data.replace(b"{}", path.encode())


VECTORS: list[Vector] = []


def add(name: str, data: bytes, *direct: int) -> None:
    VECTORS.append(Vector(name, data, direct))


def handshake(name: str, fields: bytes) -> None:
    upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
    VECTORS.append(Vector(f"WebSocket {name}", post(upgrade + fields, POISON, method=b"GET"), None))


def post(
    fields: bytes, body: bytes, version: bytes = b"HTTP/1.1", method: bytes = b"POST", host: bytes = HOST
) -> bytes:
    return method + b" {} " + version + b"\r\n" + host + fields + b"\r\n" + body


def length(body: bytes, more: int = 0) -> bytes:
    return b"Content-Length: %d\r\n" % (len(body.replace(b"{}", b"/v/000")) + more)


# Content-Length and Transfer-Encoding: each reader may follow the other one.
BOTH = END + POISON
add("CL.TE: both, the body ends early for who reads chunks", post(length(BOTH) + CHUNKED, BOTH), 400)
add("CL.TE in the other order", post(CHUNKED + length(BOTH), BOTH), 400)
add(
    "TE.CL: a poisoned chunk behind a short length",
    post(
        b"Content-Length: 4\r\n" + CHUNKED, b"%x\r\n" % len(POISON.replace(b"{}", b"/v/000")) + POISON + b"\r\n" + END
    ),
    400,
)
add("CL.0 and TE: a length of zero", post(b"Content-Length: 0\r\n" + CHUNKED, END + POISON), 400)
add("both on a GET", post(length(BOTH) + CHUNKED, BOTH, method=b"GET"), 400)

# Transfer-Encoding spelled so that one reader knows it and another does not.
#: What the lane says to those without a Content-Length beside them: 501 where it is only a coding it does not know.
ALONE = dict.fromkeys((0, 4, 5, 6, 7, 13, 14, 15, 16, 17, 21, 22, 27, 28, 29, 30, 34, 36, 40), (501,))
ALONE |= {3: (200, 200), 23: (200, 400), 37: (200, 200), 38: (200, 200)}
for number, field in enumerate(
    (
        b"Transfer-Encoding: xchunked\r\n", b"Transfer-Encoding : chunked\r\n", b"Transfer-Encoding\t: chunked\r\n",
        b"Transfer-Encoding:\tchunked\r\n", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n",
        b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", b" Transfer-Encoding: chunked\r\n",
        b"\tTransfer-Encoding: chunked\r\n", b"X: x\nTransfer-Encoding: chunked\r\n", b"X: x\rTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding\r\n : chunked\r\n", b"Transfer-Encoding: chunked, identity\r\n", b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding: identity, chunked\r\n", b"Transfer-Encoding: chunked, chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: \x0bchunked\r\n", b"Transfer-Encoding: chunked\x0b\r\n", b"Transfer-Encoding: \x0cchunked\r\n",
        b'Transfer-Encoding: "chunked"\r\n', b"Transfer-Encoding: 'chunked'\r\n", b"Transfer_Encoding: chunked\r\n",
        b"Transfer-Encoding:\x00chunked\r\n", b"Transfer-Encoding: chunked\x00\r\n", b"\x00Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding:\r\n chunked\r\n", b"Transfer-Encoding: cow\r\n chunked\r\n", b"Transfer-Encoding: ,chunked\r\n",
        b"Transfer-Encoding: chunked;q=1\r\n", b"Transfer-Encoding: \xe2\x80\x8bchunked\r\n", b"Transfer-Encoding: chunked\xa0\r\n",
        b"Transfer-Encoding:\xffchunked\r\n", b"Transfer-Encoding: chun ked\r\n", b"Transfer-Encoding;: chunked\r\n", b"Transfer-Encoding:\r\n",
        b"Transfer-Encoding: chunked \r\n", b"TRANSFER-ENCODING: CHUNKED\r\n", b"\xefTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: deflate\r\n", b"Foo: bar\r\n\rTransfer-Encoding: chunked\r\n",
    )
):  # fmt: skip
    shown = repr(field)[2:-1].removesuffix("\\r\\n")
    add(f"TE.TE {number}: {shown}, with a length", post(length(BOTH) + field, BOTH), 200 if number == 23 else 400)
    add(f"TE.TE {number}: {shown}, alone", post(field, BOTH), *ALONE.get(number, (400,)))

# Content-Length that is not one number.
LENGTHS = {b"05": (200, 200), b"5\t": (200, 200), b"4294967301": (413,)}
for value in (
    b"5\r\nContent-Length: 0", b"0\r\nContent-Length: 5", b"5\r\nContent-Length: 5", b"5, 5", b"5,0", b"0,5", b"+5", b"-5", b"-0", b"0x5",
    b"5_0", b"5 0", b"05", b"", b" ", b"5;", b'"5"', b"5.0", b"5e0", b"\xd9\xa5", b"99999999999999999999", b"18446744073709551621",
    b"4294967301", b"5\x00", b"\x0b5", b"5\x0b", b"5\r\n 0", b"\r\n 5", b"5\t", b"chunked",
):  # fmt: skip
    add(
        f"Content-Length: {repr(value)[2:-1]}",
        post(b"Content-Length: " + value + b"\r\n", b"hello" + POISON),
        *LENGTHS.get(value, (400,)),
    )
add("Content-Length with a space before the colon", post(b"Content-Length : 5\r\n", b"hello" + POISON), 400)
add("Content_Length", post(b"Content_Length: 5\r\n", POISON), 200, 200)
add("Content-Length behind a bare LF", post(b"X: x\nContent-Length: 5\r\n", b"hello" + POISON), 400)
add("Content-Length behind a bare CR", post(b"X: x\rContent-Length: 5\r\n", b"hello" + POISON), 400)

# Chunks.
for name, body in (
    ("0x before the size", b"0x5\r\nhello\r\n" + END), ("a space behind the size", b"5 \r\nhello\r\n" + END),
    ("a space before the size", b" 5\r\nhello\r\n" + END), ("a tab behind the size", b"5\t\r\nhello\r\n" + END),
    ("a sign before the size", b"+5\r\nhello\r\n" + END), ("a negative size", b"-5\r\nhello\r\n" + END),
    ("an underscore in the size", b"0_5\r\nhello\r\n" + END), ("a size of 17 digits that wraps around", b"10000000000000005\r\nhello\r\n" + END),
    ("a size of 16 digits", b"8000000000000005\r\nhello\r\n" + END), ("no size", b"\r\nhello\r\n" + END),
    ("an empty line before the size", b"\r\n5\r\nhello\r\n" + END), ("LF alone behind the size", b"5\nhello\r\n" + END),
    ("CR alone behind the size", b"5\rhello\r\n" + END), ("LF alone behind the data", b"5\r\nhello\n" + END),
    ("CR alone behind the data", b"5\r\nhello\r" + END), ("other bytes behind the data", b"5\r\nhelloXX" + END),
    ("nothing behind the data", b"5\r\nhello" + END), ("LF alone at the end", b"0\n\n"), ("LF alone behind the last size", b"0\n\r\n"),
    ("LF alone behind the trailers", b"0\r\n\n"), ("an extension that LF ends", b"5;a\nhello\r\n" + END),
    ("an extension that hides a chunk", b"2;\nxx\r\n%x\r\n" % 40 + END + POISON), ("CR in an extension", b"5;a\rb\r\nhello\r\n" + END),
    ("NUL in an extension", b"5;a\x00b\r\nhello\r\n" + END), ("a quoted line break in an extension", b'5;a="\r\nhello\r\n"\r\n' + END),
    ("NUL behind the size", b"5\x00\r\nhello\r\n" + END), ("a comma behind the size", b"5,5\r\nhello\r\n" + END),
    ("a trailer without a colon", b"0\r\nnonsense\r\n\r\n"), ("a folded trailer", b"0\r\nX: y\r\n z\r\n\r\n"),
    ("a trailer with a space before the colon", b"0\r\nX : y\r\n\r\n"), ("a trailer that LF ends", b"0\r\nX: y\n\r\n"),
    ("a trailer with NUL", b"0\r\nX: \x00\r\n\r\n"), ("the last size with other digits behind", b"00x\r\n\r\n"),
):  # fmt: skip
    add(f"chunks: {name}", post(CHUNKED, body + POISON), 400)
for name, body in (
    ("zeros before the size", b"0000005\r\nhello\r\n0000\r\n\r\n"), ("an extension", b"5;a=b\r\nhello\r\n0;c\r\n\r\n"),
    ("a trailer that says Content-Length", b"5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n"), ("a trailer that says Host", b"0\r\nHost: evil\r\n\r\n"),
    ("a trailer that says Transfer-Encoding", b"0\r\nTransfer-Encoding: chunked\r\n\r\n"), ("a trailer that says Connection", b"0\r\nConnection: close\r\n\r\n"),
):  # fmt: skip
    add(f"chunks: {name}", post(CHUNKED, body + POISON), 200, 200)

# Where a request is over without a word on its length.
add("a body without a length", post(b"", b"hello" + POISON), 200, 501)
add("a poisoned body without a length", post(b"", POISON), 200, 200)
add("a poisoned GET body", post(length(POISON), POISON, method=b"GET"), 200)
add("a poisoned HEAD body", post(length(POISON), POISON, method=b"HEAD"), 200)
add("CL.0: the app answers before it reads", post(length(POISON), POISON).replace(b"{}", b"{}/early", 1), 200)
add(
    "CL.0: the app answers before it reads chunks",
    post(CHUNKED, b"%x\r\n" % len(POISON.replace(b"{}", b"/v/000")) + POISON + b"\r\n" + END).replace(
        b"{}", b"{}/early", 1
    ),
    200,
)
add("two requests, one behind the other", post(b"Content-Length: 5\r\n", b"hello" + POISON), 200, 200)
add("a beginning of a request behind a body", post(b"Content-Length: 5\r\n", b"helloG"), 200)
add("a head without its end behind a body", post(b"Content-Length: 5\r\n", b"hello" + POISON[:-2] + b"X: "), 200)
add("a length that promises more", post(b"Content-Length: 500\r\n", POISON))
add("Expect with the body at once", post(b"Expect: 100-continue\r\n" + length(POISON), POISON), 200)
add("Expect without a body", post(b"Expect: 100-continue\r\n", POISON, method=b"GET"), 200, 200)
add("Expect twice", post(b"Expect: 100-continue\r\nExpect: 100-continue\r\n" + length(POISON), POISON), 200)
add("Expect something else", post(b"Expect: y 100-continue\r\n" + length(POISON), POISON), 200)
add("Expect on several lines", post(b"Expect:\r\n 100-continue\r\n" + length(POISON), POISON), 400)
add(
    "0.CL: Expect with an early answer",
    post(b"Expect: 100-continue\r\n" + length(POISON), POISON).replace(b"{}", b"{}/early", 1),
    200,
)

# Lines and fields.
add("LF alone everywhere", post(length(BOTH), BOTH).replace(b"\r\n", b"\n"), 400)
add("LF alone behind the request line", post(b"", POISON).replace(b"\r\n", b"\n", 1), 400)
add("LF alone at the end of the head", b"POST {} HTTP/1.1\r\nHost: a\r\nX: y\n\n" + POISON, 400)
add("an empty line of LF before the request", b"\n" + post(b"Content-Length: 0\r\n", POISON), 400)
add("an empty line before the request", b"\r\n" + post(b"Content-Length: 0\r\n", POISON), 200, 200)
add("CR alone in a value", post(b"X: a\rY: b\r\n", POISON, method=b"GET"), 400)
add("NUL in a value", post(b"X: a\x00b\r\n", POISON, method=b"GET"), 400)
add("NUL in a name", post(b"X\x00: a\r\n", POISON, method=b"GET"), 400)
add("a field without a colon", post(b"nonsense\r\n", POISON, method=b"GET"), 400)
add("a field without a name", post(b": a\r\n", POISON, method=b"GET"), 400)
add("a folded field", post(b"X: a\r\n b\r\n", POISON, method=b"GET"), 400)
add("a folded field that hides a length", post(b"X: a\r\n Content-Length: 5\r\n", b"hello" + POISON), 400)
add("a first field that begins with a space", post(b"", POISON, method=b"GET", host=b" Host: a\r\n"), 400)
add("Connection names Content-Length", post(b"Connection: content-length\r\n" + length(POISON), POISON), 200)
add("Connection names Transfer-Encoding", post(b"Connection: transfer-encoding\r\n" + CHUNKED, BOTH), 200, 200)
add("Connection names Host", post(b"Connection: host\r\n", POISON, method=b"GET"), 200, 200)

# Who is asked.
add("two Hosts", post(b"Host: b\r\n", POISON, method=b"GET"), 400)
add("the same Host twice", post(b"Host: a\r\n", POISON, method=b"GET"), 400)
add("no Host", post(b"", POISON, method=b"GET", host=b""), 400)
add("Host with a path", post(b"", POISON, method=b"GET", host=b"Host: a/b\r\n"), 400)
add("Host with a user", post(b"", POISON, method=b"GET", host=b"Host: b@a\r\n"), 400)
add("Host with a space", post(b"", POISON, method=b"GET", host=b"Host: a b\r\n"), 400)
add("Host with a comma", post(b"", POISON, method=b"GET", host=b"Host: a, b\r\n"), 400)
add("Host behind a space", post(b"", POISON, method=b"GET", host=b"Host : a\r\n"), 400)
add("an absolute target of another host", post(b"", POISON, method=b"GET").replace(b"{}", b"http://b{}", 1), 200, 200)
add(
    "an absolute target and two Hosts",
    post(b"Host: b\r\n", POISON, method=b"GET").replace(b"{}", b"http://b{}", 1),
    400,
)

# Request lines.
for name, line in (
    ("two spaces before the target", b"GET  {} HTTP/1.1"), ("two spaces before the version", b"GET {}  HTTP/1.1"), ("a tab", b"GET\t{} HTTP/1.1"),
    ("a space in the target", b"GET {} x HTTP/1.1"), ("a space behind the version", b"GET {} HTTP/1.1 "), ("no version", b"GET {}"), ("HTTP/0.9", b"GET {} HTTP/0.9"),
    ("HTTP/1.2", b"GET {} HTTP/1.2"), ("HTTP/2.0", b"GET {} HTTP/2.0"), ("HTTP/1.10", b"GET {} HTTP/1.10"), ("http/1.1", b"GET {} http/1.1"),
    ("HTTP/1.1x", b"GET {} HTTP/1.1x"), ("NUL in the target", b"GET {}\x00 HTTP/1.1"), ("CR in the target", b"GET {}\r HTTP/1.1"), ("a space first", b" GET {} HTTP/1.1"),
):  # fmt: skip
    add(f"request line: {name}", line + b"\r\n" + HOST + b"\r\n" + POISON, 400)
add("request line: a small letter in the method", b"gET {} HTTP/1.1\r\n" + HOST + b"\r\n" + POISON, 501)
add("request line: an unknown method", b"SMUGGLE {} HTTP/1.1\r\n" + HOST + b"\r\n" + POISON, 501)
add(
    "request line: an encoded line break in the target",
    b"GET {}%0d%0aHost:%20b HTTP/1.1\r\n" + HOST + b"\r\n" + POISON,
    404,
    200,
)
add("HTTP/1.0 with chunks", post(CHUNKED, BOTH, b"HTTP/1.0"), 400)
add("HTTP/1.0 with chunks and keep-alive", post(b"Connection: keep-alive\r\n" + CHUNKED, BOTH, b"HTTP/1.0"), 400)
add("HTTP/1.0 with both", post(length(BOTH) + CHUNKED, BOTH, b"HTTP/1.0"), 400)
add("HTTP/1.0 and another behind it", post(b"", POISON, b"HTTP/1.0", b"GET"), 200)

# A change of protocol, behind which nobody reads requests any more.
H2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
UPGRADE = b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nConnection: Upgrade, HTTP2-Settings\r\n"
add("h2c by Upgrade", post(UPGRADE, H2_PREFACE, method=b"GET"), 200, 400)
add("h2c by Upgrade, a request behind it", post(UPGRADE, POISON, method=b"GET"), 200, 200)
add(
    "h2c by Upgrade, which Connection does not name",
    post(UPGRADE.replace(b"Upgrade, HTTP2", b"HTTP2"), POISON, method=b"GET"),
    200,
    200,
)
add("h2c by Upgrade with a body", post(UPGRADE + length(POISON), POISON), 200)
add("h2 by Upgrade", post(UPGRADE.replace(b"h2c", b"h2"), POISON, method=b"GET"), 200, 200)
KEY = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
handshake("of a wrong version", b"Sec-WebSocket-Version: 777\r\n" + KEY)
handshake("without a key", b"Sec-WebSocket-Version: 13\r\n")
handshake("where the app has none", b"Sec-WebSocket-Version: 13\r\n" + KEY)
add(
    "WebSocket by POST",
    post(
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        + length(POISON),
        POISON,
    ),
    200,
)
