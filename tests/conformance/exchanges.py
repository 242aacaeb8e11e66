"""Raw HTTP/1.x exchanges, good, odd and hostile. Each is a name, the bytes a client sends, and what it does then."""

# ruff: noqa: E501 - an exchange reads best on one line

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sent:
    """What a client sends on one connection.

    parts: sent one after the other with a short wait in between. half_close: the client then closes its sending side.
    differs: the key of the documented difference (docs/http.md) this exchange shows, "" where there is none.
    races: what Hypercorn answers hangs on whether its parser or the app is first to hear of the end; 400 is right.
    """

    name: str
    parts: tuple[bytes, ...]
    half_close: bool = False
    differs: str = ""
    races: bool = False


HOST = b"Host: a\r\n"
CLOSE = b"Connection: close\r\n"
_all: list[Sent] = []


def add(name: str, *parts: bytes, differs: str = "", half_close: bool = False, races: bool = False) -> None:
    _all.append(Sent(name, parts, half_close, differs, races))


def get(target: bytes = b"/", headers: bytes = HOST, method: bytes = b"GET", version: bytes = b"HTTP/1.1") -> bytes:
    return method + b" " + target + b" " + version + b"\r\n" + headers + b"\r\n"


def chunked(body: bytes, target: bytes = b"/", extra: bytes = CLOSE) -> bytes:
    return get(target, HOST + extra + b"Transfer-Encoding: chunked\r\n", b"POST") + body


# Targets.
for number, target in enumerate(
    (
        b"/", b"/a", b"/a/b/c", b"/a?b=c", b"/?", b"/??", b"/?a=b?c=d", b"/a%20b", b"/%41", b"/%zz", b"/%", b"/%00",
        b"/%2e%2e/x", b"/../x", b"/./x", b"//x", b"//", b"/a//b", b"/;p=1", b"/a:b@c", b"/~a_b-c.d", b"/%e2%82%ac",
        b"/%ff", b"/!$&'()*+,;=", b"http://a/", b"http://a/x?y", b"http://a:80/x", b"https://b/x", b"/" + b"x" * 5000,
        b"/?" + b"q" * 5000, b"/a#b", b"/a\"b", b"/a<b>", b"/a|b", b"/a\\b", b"/a^b`c", b"/{x}", b"/[x]",
    )
):  # fmt: skip
    kind = "absolute-form" if target.startswith(b"http") else "fragment" if b"#" in target else ""
    add(f"target {number} {target[:20]!r}", get(target), differs=kind)
add("target star OPTIONS", get(b"*", method=b"OPTIONS"))
add("target without slash", get(b"foo"), differs="target-form")
add("target question mark", get(b"?a"), differs="target-form")
add("target star GET", get(b"*"), differs="target-form")
add("target non-ascii", get(b"/\xc3\xa9"))
add("target control", get(b"/\x01"))
add("target del", get(b"/\x7f"))
add("target tab", get(b"/a\tb"))
add("target missing", b"GET HTTP/1.1\r\n" + HOST + b"\r\n")
add("target empty", b"GET  HTTP/1.1\r\n" + HOST + b"\r\n")
add("target two", b"GET / / HTTP/1.1\r\n" + HOST + b"\r\n")

# Methods.
for method in (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"PROPFIND", b"REPORT"):
    add(f"method {method.decode()}", get(method=method))
    add(f"method {method.decode()} with close", get(b"/x", HOST + CLOSE, method))
    add(f"method {method.decode()} with body", get(b"/", HOST + b"Content-Length: 3\r\n", method) + b"abc")
for method in (b"FOO", b"get", b"Get", b"X-Y", b"G!T", b"GETT"):
    add(f"method {method.decode()}", get(method=method), differs="method-unknown")
for method in (b"G(T", b"G\x00T", b"", b"G T", b"\xe9", b"GET:", b"G\tT"):
    add(f"method bad {method!r}", get(method=method))
add("method CONNECT", get(b"a:80", method=b"CONNECT"), differs="connect")

# Versions.
for version in (b"HTTP/1.0", b"HTTP/1.1"):
    add(f"version {version!r}", get(version=version))
for version in (b"HTTP/1.2", b"HTTP/1.9", b"HTTP/2.0", b"HTTP/3.0", b"HTTP/0.9"):
    add(f"version {version!r}", get(version=version), differs="version")
for version in (
    b"HTTP/1", b"HTTP/11", b"HTTP/1.10", b"http/1.1", b"HTTP/a.b", b"RTSP/1.0", b"ICE/1.0", b"XYZ/1.1", b"HTTP /1.1",
    b" HTTP/1.1", b"HTTP/1.1 ", b"HTTP/1.1\t", b"HTTP/-1.1", b"HTTP/01.1",
):  # fmt: skip
    add(f"version bad {version!r}", get(version=version))
add("no version", b"GET /\r\n" + HOST + b"\r\n")
add("HTTP/1.0 without host", get(headers=b"", version=b"HTTP/1.0"))
add("HTTP/1.0 keep-alive", get(headers=b"Connection: keep-alive\r\n", version=b"HTTP/1.0"))
add("HTTP/1.0 with body", get(b"/", b"Content-Length: 2\r\n", b"POST", b"HTTP/1.0") + b"hi")
add("HTTP/1.0 post without length", get(b"/", b"", b"POST", b"HTTP/1.0"))
add("HTTP/1.0 stream", get(b"/stream", b"", version=b"HTTP/1.0"))
add("HTTP/1.0 HEAD stream", get(b"/stream", b"", b"HEAD", b"HTTP/1.0"))
add("HTTP/1.0 transfer-encoding", get(b"/", b"Transfer-Encoding: chunked\r\n", b"POST", b"HTTP/1.0") + b"0\r\n\r\n",
    differs="te-in-1.0")  # fmt: skip
add("HTTP/1.0 expect", get(b"/", b"Expect: 100-continue\r\nContent-Length: 2\r\n", b"POST", b"HTTP/1.0") + b"hi")

# Host.
add("host missing", get(headers=b""))
add("host empty", get(headers=b"Host:\r\n"))
add("host twice", get(headers=HOST + HOST))
add("host twice different", get(headers=HOST + b"Host: b\r\n"))
add("host twice in 1.0", get(headers=HOST + HOST, version=b"HTTP/1.0"))
for host in (b"example.org", b"example.org:80", b"EXAMPLE.org", b"127.0.0.1:8000", b"[::1]", b"[::1]:80", b"a_b", b"a.",
             b"xn--e1afmkfd", b"a:", b"a%20b", b"[fe80::1]:8080"):  # fmt: skip
    add(f"host {host!r}", get(headers=b"Host: " + host + b"\r\n"))
for host in (b"a b", b"a/b", b"a@b", b"a:b", b"a:80:80", b"a?b", b"a#b", b"\xc3\xa9", b"[::1", b"a\\b", b"a,b c", b"<a>",
             b"a\tb", b"[::g]"):  # fmt: skip
    add(f"host bad {host!r}", get(headers=b"Host: " + host + b"\r\n"), differs="host-invalid")

# Header fields.
for field in (
    b"X: y", b"X:y", b"X:  y  ", b"X:\ty\t", b"X:", b"X: ", b"X: a b", b"X: a\tb", b"X: \xe9\xff", b"X: ,;=\"'()<>@",
    b"x-a: 1\r\nX-A: 2", b"X-Long: " + b"v" * 4000, b"N" * 200 + b": v", b"!#$%&'*+-.^_`|~: odd", b"X_Y: 1", b"0: 1",
    b"Cookie: a=b; c=d", b"Cookie: a=b\r\nCookie: c=d", b"Accept: */*\r\nAccept-Encoding: gzip", b"X: a\r\nY: b\r\nZ: c",
    b"TE: trailers", b"Content-Type: application/json", b"Authorization: Basic eDp5", b"X-Forwarded-For: 1.2.3.4",
    b"Range: bytes=0-1", b"If-None-Match: \"x\"", b"Trailer: X", b"Via: 1.1 x", b"Remote-Addr: 6.6.6.6",
):  # fmt: skip
    add(f"field {field[:24]!r}", get(headers=HOST + field + b"\r\n"))
for field in (
    b"X : y", b": y", b"X", b"X y", b"X\x00: y", b"X: y\x00z", b"X: a\rb", b"X\xe9: y", b"X(: y",
    b"X,Y: z", b"X\ty: z", b"X: \x0b", b"X: a\x0cb", b"\x01X: y", b"[X]: y", b"X/Y: z", b"X=Y: z", b"X{: z", b"\"X\": z",
):  # fmt: skip
    add(f"field bad {field!r}", get(headers=HOST + field + b"\r\n"))
for field in (b"X: a\x01b", b"X: a\x7fb", b"X: \x1b[0m"):
    add(f"field control {field!r}", get(headers=HOST + field + b"\r\n"), differs="control-characters")
add("obs-fold", get(headers=HOST + b"X: a\r\n b\r\n"), differs="obs-fold")
add("fold that looks like a field", get(headers=HOST + b" X: y\r\n"), differs="obs-fold")
add("fold by tab that looks like a field", get(headers=HOST + b"\tX: y\r\n"), differs="obs-fold")
add("obs-fold tab", get(headers=HOST + b"X: a\r\n\tb\r\n"), differs="obs-fold")
add("obs-fold content-length", get(b"/", HOST + b"Content-Length:\r\n 3\r\n", b"POST") + b"abc", differs="obs-fold")
add("fold before first field", b"GET / HTTP/1.1\r\n X: y\r\n" + HOST + b"\r\n")
add("bare LF everywhere", b"GET / HTTP/1.1\nHost: a\n\n", differs="bare-lf")
add("bare LF request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n", differs="bare-lf")
add("bare LF field", b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", differs="bare-lf")
add("bare LF end", b"GET / HTTP/1.1\r\nHost: a\r\n\n", differs="bare-lf")
add("bare LF smuggled field", get(headers=HOST + b"X: a\nContent-Length: 5\r\n") + b"hello", differs="bare-lf")
add("bare CR request line", b"GET / HTTP/1.1\rHost: a\r\n\r\n")
add("CR CR LF", b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n")
add("empty line first", b"\r\n" + get(), differs="empty-line")
add("two empty lines first", b"\r\n\r\n" + get(), differs="empty-line")
add("LF first", b"\n" + get())
add("space first", b" " + get())
add("NUL first", b"\0" + get())
add("TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
add("binary", bytes(range(256)))
add("only CRLF CRLF", b"\r\n\r\n", differs="empty-line")
add("200 fields", get(headers=HOST + b"".join(b"x%d: y\r\n" % i for i in range(200))))
add("300 fields", get(headers=HOST + b"".join(b"x%d: y\r\n" % i for i in range(300))), differs="many-fields")

# Sizes.
add("head of 16000", get(headers=HOST + b"X: " + b"v" * 15900 + b"\r\n"))
add("head of 20000 at once", get(headers=HOST + b"X: " + b"v" * 20000 + b"\r\n"), differs="head-size")
add(
    "head of 20000 in parts",
    *(get(headers=HOST + b"X: " + b"v" * 20000 + b"\r\n")[i : i + 5000] for i in range(0, 20100, 5000)),
)
add("target of 20000 in parts", b"GET /" + b"x" * 9000, b"x" * 9000, b"x" * 2000, differs="request-line")
add("endless request line", b"G" * 17000, differs="request-line")
add("endless field", b"GET / HTTP/1.1\r\nX: " + b"a" * 17000)

# Body lengths.
for length, body in ((b"0", b""), (b"1", b"a"), (b"5", b"hello"), (b"005", b"hello"), (b"00", b""), (b"3", b"\0\xff\n"),
                     (b"5 ", b"hello"), (b"\t5", b"hello")):  # fmt: skip
    add(f"content-length {length!r}", get(b"/", HOST + b"Content-Length: " + length + b"\r\n", b"POST") + body)
for length in (
    b"-1",
    b"+5",
    b"5a",
    b"0x5",
    b"5.0",
    b"1e3",
    b"",
    b"five",
    b"5,6",
    b"\xb2",
    b"9" * 30,
    b"5 5",
    b"_5",
    b"5_0",
):
    add(f"content-length bad {length!r}", get(b"/", HOST + b"Content-Length: " + length + b"\r\n", b"POST") + b"hello")
add(
    "content-length list same",
    get(b"/", HOST + b"Content-Length: 5, 5\r\n", b"POST") + b"hello",
    differs="length-twice",
)
add("content-length twice same", get(b"/", HOST + b"Content-Length: 5\r\nContent-Length: 5\r\n", b"POST") + b"hello",
    differs="length-twice")  # fmt: skip
add("content-length twice", get(b"/", HOST + b"Content-Length: 5\r\nContent-Length: 6\r\n", b"POST") + b"hello!")
add("content-length too much sent", get(b"/", HOST + b"Content-Length: 2\r\n", b"POST") + b"hello")
add("content-length in parts", get(b"/", HOST + b"Content-Length: 6\r\n", b"POST"), b"ab", b"cd", b"ef")
add(
    "content-length cut short", get(b"/", HOST + b"Content-Length: 6\r\n", b"POST") + b"ab", half_close=True, races=True
)
add("content-length large", get(b"/", HOST + b"Content-Length: 300000\r\n", b"POST") + b"x" * 300000)
add("get with body", get(b"/", HOST + b"Content-Length: 2\r\n") + b"hi")
add("both lengths", get(b"/", HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"POST") + b"0\r\n\r\n",
    differs="length-and-te")  # fmt: skip
add("both lengths reversed", get(b"/", HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"POST") + b"0\r\n\r\n",
    differs="length-and-te")  # fmt: skip
for coding in (b"gzip", b"identity", b"gzip, chunked", b"chunked, gzip", b"chunked, chunked", b"xchunked", b"chunked;q=1",
               b"", b"chunke", b"\"chunked\""):  # fmt: skip
    add(
        f"transfer-encoding {coding!r}",
        get(b"/", HOST + b"Transfer-Encoding: " + coding + b"\r\n", b"POST") + b"0\r\n\r\n",
    )
add("transfer-encoding CHUNKED", get(b"/", HOST + b"Transfer-Encoding: CHUNKED\r\n", b"POST") + b"1\r\na\r\n0\r\n\r\n")
add("transfer-encoding space", get(b"/", HOST + b"Transfer-Encoding:  chunked \r\n", b"POST") + b"1\r\na\r\n0\r\n\r\n")
add("transfer-encoding twice", get(b"/", HOST + b"Transfer-Encoding: chunked\r\n" * 2, b"POST") + b"0\r\n\r\n")
add("transfer-encoding name with space", get(b"/", HOST + b"Transfer-Encoding : chunked\r\n", b"POST") + b"0\r\n\r\n")
add("transfer-encoding vertical tab", get(b"/", HOST + b"Transfer-Encoding: \x0bchunked\r\n", b"POST") + b"0\r\n\r\n")

# Chunked bodies.
for number, body in enumerate(
    (
        b"0\r\n\r\n", b"1\r\na\r\n0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
        b"a\r\n0123456789\r\n0\r\n\r\n", b"A\r\n0123456789\r\n0\r\n\r\n", b"0005\r\nhello\r\n0\r\n\r\n",
        b"5;x=y\r\nhello\r\n0\r\n\r\n", b"5;x\r\nhello\r\n0;y\r\n\r\n", b"5; x = \"y\"\r\nhello\r\n0\r\n\r\n",
        b"000\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"0\r\nX: y\r\nZ: w\r\n\r\n", b"2\r\n\r\n\r\n0\r\n\r\n",
        b"3\r\n0\r\n\r\n0\r\n\r\n",
    )
):  # fmt: skip
    add(f"chunked {number} {body[:16]!r}", chunked(body))
for number, body in enumerate(
    (
        b"g\r\nhello\r\n0\r\n\r\n", b"-5\r\nhello\r\n0\r\n\r\n", b"+5\r\nhello\r\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n",
        b"\r\nhello\r\n0\r\n\r\n", b" 5\r\nhello\r\n0\r\n\r\n", b"5 6\r\nhello\r\n0\r\n\r\n", b"5\r\nhelloXX0\r\n\r\n",
        b"5\r\nhello!\r\n0\r\n\r\n", b"3\r\nhello\r\n0\r\n\r\n", b"f" * 30 + b"\r\n", b"5_0\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\n\n0\r\n\r\n", b"0\r\nX\r\n\r\n", b"0\r\n: y\r\n\r\n", b"0\r\nX : y\r\n\r\n", b"5,\r\nhello\r\n0\r\n\r\n",
        b"five\r\nhello\r\n0\r\n\r\n", b"5\x00\r\nhello\r\n0\r\n\r\n", b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    )
):  # fmt: skip
    add(f"chunked bad {number} {body[:16]!r}", chunked(body))
for number, body in enumerate(
    (b"5\nhello\n0\n\n", b"5 \r\nhello\r\n0\r\n\r\n", b"5\t\r\nhello\r\n0\r\n\r\n", b"0\r\nX: a\r\n b\r\n\r\n", b"0\r\n\n",
     b"0\r\nX: y\n\r\n", b"5;a\rb\r\nhello\r\n0\r\n\r\n", b"0\r\nContent-Length: x\r\n\r\n",
     b"0\r\nTransfer-Encoding: gzip\r\n\r\n", b"fffffffffffffffff\r\nhello", b"0\r\nX: a\x01\r\n\r\n")
):  # fmt: skip
    add(f"chunked strict {number} {body[:16]!r}", chunked(body), differs="chunk-strict")
add("malformed chunk end", chunked(b"5\r\nhelloXX0\r\n\r\n", extra=b""))
add("chunked then junk", chunked(b"0\r\n\r\nextra"), differs="after-close")
add("chunked cut short", chunked(b"5\r\nhel"), half_close=True, races=True)
add("chunked cut before end", chunked(b"5\r\nhello\r\n"), half_close=True, races=True)
add("chunked in parts", chunked(b"", extra=b""), b"5\r", b"\nhel", b"lo", b"\r", b"\n0", b"\r\n", b"\r\n")
add("chunked then pipelined", chunked(b"1\r\na\r\n0\r\n\r\n", extra=b"") + get(b"/after", HOST + CLOSE))
add("chunked trailers then pipelined", chunked(b"0\r\nX: y\r\n\r\n", extra=b"") + get(b"/after", HOST + CLOSE))
add("chunked many small", chunked(b"1\r\nx\r\n" * 2000 + b"0\r\n\r\n"))

# Connection handling.
for value in (b"close", b"Close", b"keep-alive", b"close, x", b"x, close", b"keep-alive, close", b"x", b"", b",", b"upgrade",
              b"TE", b"close,close"):  # fmt: skip
    add(f"connection {value!r}", get(headers=HOST + b"Connection: " + value + b"\r\n"))
add("connection twice", get(headers=HOST + b"Connection: x\r\nConnection: close\r\n"))
add("keep-alive two", get(b"/1"), get(b"/2"))
add("keep-alive three then close", get(b"/1"), get(b"/2"), get(b"/3", HOST + CLOSE))
add("keep-alive after post", get(b"/1", HOST + b"Content-Length: 2\r\n", b"POST") + b"hi", get(b"/2"))
add("keep-alive then bad", get(b"/1"), b"BAD\r\n\r\n")
add("keep-alive then empty line", get(b"/1"), b"\r\n" + get(b"/2"), differs="empty-line")
add("keep-alive then half-close", get(b"/1"), half_close=True, differs="half-close")
add("close then more", get(b"/1", HOST + CLOSE) + get(b"/2"), differs="after-close")
add("pipelined two", get(b"/1") + get(b"/2"))
add("pipelined ten", b"".join(get(b"/%d" % i) for i in range(10)))
add("pipelined with bodies", (get(b"/1", HOST + b"Content-Length: 2\r\n", b"POST") + b"hi") * 3 + get(b"/4"))
add("pipelined then close", get(b"/1") + get(b"/2") + get(b"/3", HOST + CLOSE))
add("pipelined bad second", get(b"/1") + b"GET /\x00 HTTP/1.1\r\n\r\n")
add("pipelined 1.0 first", get(b"/1", b"", version=b"HTTP/1.0") + get(b"/2"), differs="after-close")
add("pipelined heads", get(b"/1", method=b"HEAD") + get(b"/2"))
add("pipelined streams", get(b"/stream") + get(b"/stream") + get(b"/2"))
add("pipelined half request", get(b"/1") + b"GET /2 HT", b"TP/1.1\r\nHost: a\r\n\r\n")
add("half head then half-close", b"GET / HTTP/1.1\r\nHos", half_close=True)
add("nothing then half-close", b"", half_close=True, differs="half-close")
add("request then half-close", get(headers=HOST + CLOSE), half_close=True)

# Expect.
add("expect", get(b"/", HOST + b"Expect: 100-continue\r\nContent-Length: 2\r\n", b"POST"), b"hi", differs="continue")
add(
    "expect with body at once",
    get(b"/", HOST + b"Expect: 100-continue\r\nContent-Length: 2\r\n", b"POST") + b"hi",
    differs="continue",
)
add(
    "expect uppercase",
    get(b"/", HOST + b"Expect: 100-Continue\r\nContent-Length: 2\r\n", b"POST"),
    b"hi",
    differs="continue",
)
add(
    "expect list",
    get(b"/", HOST + b"Expect: x, 100-continue\r\nContent-Length: 2\r\n", b"POST"),
    b"hi",
    differs="continue",
)
add("expect unknown", get(b"/", HOST + b"Expect: 200-maybe\r\nContent-Length: 2\r\n", b"POST"), b"hi")
add("expect without body", get(b"/", HOST + b"Expect: 100-continue\r\n"), differs="continue")
add(
    "expect with an early answer",
    get(b"/early", HOST + b"Expect: 100-continue\r\nContent-Length: 2\r\n", b"POST"),
    differs="continue",
)
add(
    "expect chunked",
    chunked(b"", extra=b"Expect: 100-continue\r\n"),
    b"2\r\nhi\r\n0\r\n\r\n",
    differs="continue",
)

# Responses.
for target in (b"/json", b"/text", b"/empty", b"/stream", b"/stream-empty", b"/status/201", b"/status/204", b"/status/304",
               b"/status/404", b"/status/500", b"/status/599", b"/length/10", b"/close", b"/keep", b"/headers", b"/unicode",
               b"/big", b"/te-chunked", b"/length-head"):  # fmt: skip
    kind = "no-body" if target in (b"/status/204", b"/status/304") else ""
    for method in (b"GET", b"HEAD"):
        first = get(target, method=method)
        add(f"response {method.decode()} {target.decode()}", first, get(b"/after", HOST + CLOSE), differs=kind)
    add(f"response 1.0 {target.decode()}", get(target, b"", version=b"HTTP/1.0"), differs=kind)
    add(f"response closing {target.decode()}", get(target, HOST + CLOSE), differs=kind)
for target in (b"/raises", b"/raises-late", b"/too-much", b"/too-little"):
    kind = "wrong-length" if target.startswith(b"/too") else ""
    add(f"failing {target.decode()}", get(target), differs=kind)
    add(f"failing 1.0 {target.decode()}", get(target, b"", version=b"HTTP/1.0"), differs=kind)
add("bad response header", get(b"/bad-header"))
add("bad response name", get(b"/bad-name"))
add("early response", get(b"/early", HOST + b"Content-Length: 10\r\n", b"POST") + b"abc", differs="unread-body")
add("early response chunked", chunked(b"5\r\nhello\r\n", b"/early", b""), differs="unread-body")

# Other protocols.
add(
    "h2c upgrade with body",
    get(b"/", HOST + b"Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 2\r\n", b"POST") + b"hi",
)
add("upgrade unknown", get(b"/", HOST + b"Upgrade: foo\r\nConnection: Upgrade\r\n"))
add("upgrade unknown then next", get(b"/", HOST + b"Upgrade: foo\r\nConnection: Upgrade\r\n"), get(b"/2"))
add("upgrade without connection", get(b"/", HOST + b"Upgrade: websocket\r\n"))
add("websocket by POST", get(b"/", HOST + b"Upgrade: websocket\r\nConnection: Upgrade\r\n", b"POST"))
add(
    "websocket without key",
    get(b"/ws", HOST + b"Upgrade: websocket\r\nConnection: Upgrade\r\n"),
    differs="websocket-refused",
)
WEBSOCKET = (
    HOST + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
add("websocket", get(b"/ws", WEBSOCKET))
add("websocket after request", get(b"/1"), get(b"/ws", WEBSOCKET))
add("preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", differs="http2-settings")
add("preface in parts", b"PRI * HTTP/2.0\r\n\r", b"\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", differs="http2-settings")
add("PRI with field", get(b"*", HOST, b"PRI", b"HTTP/2.0"), differs="version")

EXCHANGES: tuple[Sent, ...] = tuple(_all)

SPLIT: tuple[str, ...] = (
    "method GET",
    "chunked 1 b'1\\r\\na\\r\\n0\\r\\n\\r\\n'",
    "chunked trailers then pipelined",
    "content-length in parts",
    "pipelined with bodies",
    "obs-fold",
    "bare LF everywhere",
    "both lengths",
    "expect with body at once",
    "malformed chunk end",
)
"""Names of the exchanges that are also sent split in two at every byte."""
