"""HTTP/1.x request heads, parsed strictly.

llhttp (through httptools) parses every head. It is handed exactly one complete head at a time, so that it never runs
ahead into a pipelined request and the raw bytes are at hand for the checks it does not make. A counted body needs no
parser; for chunked ones see chunks.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

import httptools

from ..lane.head import Head, Headers

MAX_HEADERS = 256
"""More header fields than this in one head are answered with 431, where nothing else is said."""

FIRST_HEADS = 16
"""How many heads that connections began with are remembered for the next connections,"""

FIRST_HEAD_BYTES = 1024
"""and how long one may be for it."""

_METHOD = re.compile(rb"[-!#$%&'*+.^_`|~0-9a-zA-Z]+")
_HOST = re.compile(rb"(?:[-A-Za-z0-9._~!$&'()*+,;=%]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
_ABSOLUTE = re.compile(rb"(?i:https?|wss?)://([^/?#]*)(.*)")
_CODING = re.compile(rb"\r\n(?i:transfer-encoding):([\t\x20-\x7e]*)(?=\r\n)")

PREFACE = b"PRI * HTTP/2.0\r\n\r\n"

# Names whose values decide about the connection; everything else is only passed on.
_FRAMING = frozenset((b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect"))


class RequestRefused(Exception):  # noqa: N818 - reads as the fact it is
    """The bytes are no request this server takes; answer `status` and close the connection."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class HeadParser:
    """Parses one connection's heads, one complete head (ending in CRLF CRLF) at a time.

    raw_names: keep header names as the client wrote them (Hypercorn's h11_pass_raw_headers). max_line: bytes of the
    request line (414). max_fields: header fields (431). firsts: what other connections began with, by the bytes of it;
    clients that make a connection for each request repeat themselves as well.
    """

    __slots__ = (
        "_fields",
        "_firsts",
        "_headers",
        "_last",
        "_last_bytes",
        "_max_fields",
        "_max_line",
        "_parser",
        "_raw_names",
        "_seen",
        "_target",
    )

    def __init__(
        self,
        raw_names: bool = False,
        max_line: int = 1 << 16,
        max_fields: int = MAX_HEADERS,
        firsts: dict[bytes, Head] | None = None,
    ) -> None:
        self._firsts = firsts
        self._max_line = max_line
        self._max_fields = max_fields
        self._parser: httptools.HttpRequestParser | None = None
        self._raw_names = raw_names
        self._headers: Headers = []
        self._seen: Headers = []
        self._target = b""
        self._last_bytes = b""
        self._last: Head | None = None
        self._fields = b""  # of _last: all of its bytes behind the request line

    # Called by httptools.

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        # llhttp keeps the white space behind a value, h11 drops it.
        if value[-1:] in b" \t":
            value = value.rstrip(b" \t")
        lower = name.lower()
        if lower in _FRAMING:
            if lower == b"transfer-encoding":
                value = value.lower()  # as h11 passes it on
            self._seen.append((lower, value))
        self._headers.append((name if self._raw_names else lower, value))

    def parse(self, data: bytes) -> Head:
        """Return the head in `data`. Raises RequestRefused."""
        # Clients on one connection often repeat themselves to the byte (pollers, proxies, health checks).
        if data == self._last_bytes and self._last is not None:
            return self._last
        firsts = self._firsts
        if firsts is not None and self._last is None and (head := firsts.get(data)) is not None:
            self._remember(data, head, data[data.find(b"\r\n") :])
            return head
        # llhttp skips empty lines before a request; h11 refuses them, and a front end may count them differently.
        if data[0] < 0x21:
            raise RequestRefused(400, "illegal request line")
        end = data.find(b"\r\n")
        if end > self._max_line:
            raise RequestRefused(414, "request line too long")
        method, target, version = self._request_line(data[:end])
        fields = data[end:]
        known = self._last
        if known is None or fields != self._fields or version != known.version:
            known = None
            self._feed(data, target)
            if len(self._headers) > self._max_fields:
                self._parser = None
                raise RequestRefused(431, "too many header fields")
        else:
            # The same fields behind another target, as from any browser: only the request line is new.
            self._feed(data[:end] + b"\r\n\r\n", target)
        head = Head()
        head.raw_method = method
        head.method = method.decode("ascii")
        authority = b""
        if target[0] != 0x2F:
            target, authority = self._origin_of(method, target)
        head.raw_path, head.path, head.query_string = split_target(target)
        head.version = version
        head.size = len(data)
        if known is not None:
            head.take_fields(known)
        else:
            head.headers = self._headers
            head.text_headers = None
            try:
                self._judge(head)
            except RequestRefused:
                self._parser = None
                raise
            if head.has_body or not head.keep_alive:
                # llhttp now waits for a body, or for nothing more at all; it gets neither.
                self._parser = None
        if authority:
            head.take_host(authority)  # and so it is not remembered: its fields are not those that were sent
            return head
        # What an Upgrade header means depends on the method, which the next request may change.
        if method != b"CONNECT" and all(name != b"upgrade" for name, _ in self._seen):
            if firsts is not None and self._last is None and len(data) <= FIRST_HEAD_BYTES:
                if len(firsts) >= FIRST_HEADS:
                    firsts.clear()
                firsts[data] = head
            self._remember(data, head, fields)
        return head

    def _remember(self, data: bytes, head: Head, fields: bytes) -> None:
        self._last_bytes = data
        self._last = head
        self._fields = fields

    def _feed(self, data: bytes, target: bytes) -> None:
        """Have llhttp read one head; the fields go to _headers and _seen. Raises RequestRefused."""
        self._headers = []
        self._seen = []
        self._target = b""
        parser = self._parser
        if parser is None:
            parser = self._parser = httptools.HttpRequestParser(self)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._parser = None
        except httptools.HttpParserInvalidMethodError as error:
            self._parser = None
            raise RequestRefused(501, "method not implemented") from error
        except httptools.HttpParserError as error:
            self._parser = None
            raise RequestRefused(_status_of(data), str(error)) from error
        if self._target != target:
            self._parser = None
            raise RequestRefused(400, "illegal request line")

    def _origin_of(self, method: bytes, target: bytes) -> tuple[bytes, bytes]:
        try:
            return origin_of(method, target)
        except RequestRefused:
            self._parser = None  # it may wait for a body, or for nothing more at all
            raise

    def _request_line(self, line: bytes) -> tuple[bytes, bytes, str]:
        # llhttp takes several spaces between the parts, RTSP and ICE, and versions 0.9 and 2.0.
        parts = line.split(b" ")
        if len(parts) != 3:
            raise RequestRefused(400, "illegal request line")
        method, target, protocol = parts
        if protocol == b"HTTP/1.1":
            version = "1.1"
        elif protocol == b"HTTP/1.0":
            version = "1.0"
        else:
            raise RequestRefused(400, "unknown protocol version")
        if _METHOD.fullmatch(method) is None:
            raise RequestRefused(400, "illegal method")
        return method, target, version

    def _judge(self, head: Head) -> None:
        """Read what the headers say about body and connection; refuse what two readers could read differently."""
        head.chunked = head.expect_continue = head.sized = False
        head.content_length = 0
        head.keep_alive = head.version == "1.1"
        head.upgrade = ""
        host: bytes | None = None
        length: bytes | None = None
        connection = upgrade = b""
        for name, value in self._seen:
            if name == b"host":
                if host is not None:
                    raise RequestRefused(400, "several Host headers")
                host = value
                if not is_host(value):
                    raise RequestRefused(400, "invalid Host header")
            elif name == b"content-length":
                if length is not None or not value.isdigit() or len(value) > 18:
                    raise RequestRefused(400, "bad Content-Length")
                length = value
            elif name == b"transfer-encoding":
                if head.chunked:
                    raise RequestRefused(501, "several Transfer-Encoding headers")
                if value != b"chunked":
                    raise RequestRefused(501, "unknown transfer coding")
                head.chunked = True
            elif name == b"connection":
                connection += b"," + value.lower()
            elif name == b"upgrade":
                upgrade = value.lower()
            elif head.version == "1.1" and b"100-continue" in _tokens(value.lower()):
                head.expect_continue = True
        if host is None and head.version == "1.1":
            raise RequestRefused(400, "missing Host header")
        head.host = host or b""
        if head.chunked and (length is not None or head.version == "1.0"):
            raise RequestRefused(400, "ambiguous body length")
        if length is not None:
            head.content_length = int(length)
            head.sized = True
        if connection:
            tokens = _tokens(connection)
            if b"close" in tokens:
                head.keep_alive = False
            if upgrade == b"websocket" and b"upgrade" in tokens and head.method == "GET":
                head.upgrade = "websocket"


def _status_of(data: bytes) -> int:
    """Return 501 for a head that llhttp refused only for an unknown transfer coding, 400 for any other."""
    if b"\r\ncontent-length" in data.lower():
        return 400
    codings = _CODING.findall(data)
    return 501 if len(codings) > 1 or any(coding.strip().lower() != b"chunked" for coding in codings) else 400


def split_target(target: bytes) -> tuple[bytes, str, bytes]:
    """Return (path as it was sent, path decoded, query) of a target that is a path. A fragment is nobody's to send."""
    if b"#" in target:
        target = target.partition(b"#")[0]
    raw_path, _, query = target.partition(b"?")
    path = raw_path.decode("ascii")
    return raw_path, unquote(path) if "%" in path else path, query


def origin_of(method: bytes, target: bytes) -> tuple[bytes, bytes]:
    """Return (path and query, host) of a target in another form than a path. Raises RequestRefused.

    Split before it is decoded: of http://a/b%3Fc the path is /b?c. The host is b"" where none is said.
    """
    if method == b"CONNECT":
        raise RequestRefused(501, "no tunnels here")
    if target == b"*" and method == b"OPTIONS":
        return target, b""
    url = _ABSOLUTE.fullmatch(target)
    if url is None or not url[1] or not is_host(url[1]):
        raise RequestRefused(400, "illegal request target")
    rest = url[2]
    if rest[:1] != b"/":
        # Without a path OPTIONS asks about the server as such (RFC 9112 section 3.2.4).
        rest = b"*" if method == b"OPTIONS" and not rest else b"/" + rest
    return rest, url[1]


def is_host(value: bytes) -> bool:
    """Tell whether it can be the host, and port, of a request."""
    return _HOST.fullmatch(value) is not None


def _tokens(value: bytes) -> list[bytes]:
    return [token.strip() for token in value.split(b",")]


def refuses_early(data: bytes | bytearray, start: int = 0) -> bool:
    """Tell whether an incomplete head can already be seen never to become a good one.

    start: everything before it was looked at already.
    Without this a client that ends its lines with LF alone would be waited for in vain.
    """
    if data[0] < 0x21:
        return True
    index = data.find(b"\n", start)
    while index != -1:
        if index == 0 or data[index - 1] != 0x0D:
            return True
        index = data.find(b"\n", index + 1)
    return False
