"""What a client asks for over HTTP/2: header fields made into the head of a request (RFC 9113, section 8)."""

from __future__ import annotations

import re

from ..http1.parser import RequestRefused, is_host, split_target
from ..lane.head import Head
from .frames import PROTOCOL_ERROR, StreamFault
from .hpack_decoder import Field

_NAME = re.compile(rb"[-!#$%&'*+.^_`|~0-9a-z]+")
_METHOD = re.compile(rb"[-!#$%&'*+.^_`|~0-9a-zA-Z]+")
_TARGET = re.compile(rb"[\x21-\x7e]+")
_PROTOCOL = re.compile(rb"[-!#$%&'*+.^_`|~0-9a-zA-Z]+")
#: Tab is allowed within a value; of the other control characters the RFC names three, and Aeros takes none. The line
#: break stands between values.
_IN_VALUES = bytes(byte for byte in range(256) if byte in b"\t\n" or (byte >= 0x20 and byte != 0x7F))
_EDGES = (b"\n ", b"\n\t", b" \n", b"\t\n")
_PSEUDO = frozenset((b":method", b":scheme", b":path", b":authority", b":protocol"))
_OF_HTTP1 = frozenset((b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"))

#: Names that were found to be good ones that mean nothing here. Within bounds: clients choose them.
_plain_names: set[bytes] = set()
_PLAIN_NAMES_MAX = 1024


class HTTP2Head(Head):
    """A head of HTTP/2. protocol: of an extended CONNECT (RFC 8441), b"" of any other request."""

    __slots__ = ("protocol",)

    protocol: bytes


def request_head(fields: list[Field], size: int, max_path: int, max_fields: int) -> HTTP2Head:
    """Return the head that the fields make. size: of their block. max_path: bytes of the target.

    Raises StreamFault for a malformed request, RequestRefused for one that is to be answered with an error.
    """
    pseudo: dict[bytes, bytes] = {}
    headers: list[Field] = [(b"host", b"")]
    cookies: list[bytes] = []
    special = _Special()
    _check_values(fields)
    for field in fields:
        name, value = field
        if name == b"cookie":
            cookies.append(value)
            continue
        if name in _plain_names:
            headers.append(field)
            continue
        if name[:1] == b":":
            if len(headers) > 1 or special.host is not None or cookies:
                raise _malformed("a pseudo-header behind a header")
            if name not in _PSEUDO or name in pseudo:
                raise _malformed("an unknown or repeated pseudo-header")
            pseudo[name] = value
            continue
        _check_name(name)
        if special.take(name, value):
            headers.append(field)
    if cookies:
        # Put together again (section 8.2.3), and where Hypercorn's h2 puts them.
        headers.append((b"cookie", b"; ".join(cookies)))
    head = HTTP2Head()
    _read_target(head, pseudo, max_path)
    authority = _authority(pseudo.get(b":authority"), special.host)
    if len(headers) - 1 > max_fields:
        raise RequestRefused(431, "too many header fields")
    headers[0] = (b"host", authority)
    head.host = authority
    head.headers = headers
    head.text_headers = None
    head.version = "2"
    head.size = size
    head.sized = special.length is not None
    head.content_length = int(special.length or 0)
    head.expect_continue = special.expects
    head.chunked = False
    head.keep_alive = True
    head.upgrade = ""
    return head


class _Special:
    """What the headers say that mean something here."""

    __slots__ = ("expects", "host", "length")

    def __init__(self) -> None:
        self.host: bytes | None = None
        self.length: bytes | None = None
        self.expects = False

    def take(self, name: bytes, value: bytes) -> bool:
        """Take a header that is not known to be plain; tell whether the app sees it as it is."""
        if name == b"host":
            if self.host is not None and self.host != value:
                raise _malformed("several hosts")
            self.host = value
            return False
        if name == b"content-length":
            again = self.length is not None
            if (again and self.length != value) or not value.isdigit() or len(value) > 18:
                raise _malformed("bad content-length")
            self.length = value
            return not again
        if name == b"te":
            if value.lower() != b"trailers":
                raise _malformed("a TE other than trailers")
        elif name == b"expect":
            self.expects = value.lower() == b"100-continue"
        elif name in _OF_HTTP1:
            raise _malformed("a header that belongs to a connection of HTTP/1")
        elif len(_plain_names) < _PLAIN_NAMES_MAX:
            _plain_names.add(name)
        return True


def _authority(authority: bytes | None, host: bytes | None) -> bytes:
    """Return the host that is asked, by its pseudo-header or its header."""
    if authority is None:
        authority = host
    elif host is not None and host != authority:
        raise _malformed("a Host that is not the authority")
    if authority is None:
        raise _malformed("neither authority nor Host")
    if not is_host(authority):
        raise RequestRefused(400, "invalid authority")
    return authority


def _read_target(head: HTTP2Head, pseudo: dict[bytes, bytes], max_path: int) -> None:
    method, path = pseudo.get(b":method"), pseudo.get(b":path")
    protocol = pseudo.get(b":protocol")
    if method is None or _METHOD.fullmatch(method) is None:
        raise _malformed("a request without a method")
    if method == b"CONNECT" and protocol is None:
        if path is not None or b":scheme" in pseudo or b":authority" not in pseudo:
            raise _malformed("a CONNECT with a path or a scheme")
        raise RequestRefused(501, "no tunnels here")
    if path is None or not pseudo.get(b":scheme"):
        raise _malformed("a request without a path or a scheme")
    if protocol is not None and (method != b"CONNECT" or _PROTOCOL.fullmatch(protocol) is None):
        raise _malformed("a protocol, and no CONNECT")
    if path[:1] != b"/" and (path != b"*" or method != b"OPTIONS"):
        raise _malformed("a path that is none")
    if len(path) > max_path:
        raise RequestRefused(414, "path too long")
    if _TARGET.fullmatch(path) is None:
        raise _malformed("a path with illegal characters")
    head.protocol = protocol or b""
    head.raw_method = method
    head.method = method.decode("ascii").upper()  # as Hypercorn's
    head.raw_path, head.path, head.query_string = split_target(path)


def check_trailers(fields: list[Field]) -> None:
    """Raise StreamFault for trailers that are malformed."""
    _check_values(fields)
    for name, _ in fields:
        if name in _plain_names:
            continue
        if name[:1] == b":":
            raise _malformed("a pseudo-header in trailers")
        _check_name(name)
        if name in _OF_HTTP1:
            raise _malformed("a header that belongs to a connection of HTTP/1")


def _check_name(name: bytes) -> None:
    if _NAME.fullmatch(name) is None:
        raise _malformed("an illegal header name")


def _check_values(fields: list[Field]) -> None:
    """Look at all values at once: a cookie in a thousand pieces is a thousand values."""
    text = b"\n".join([b"", *[value for _, value in fields], b""])
    if text.translate(None, _IN_VALUES) or text.count(b"\n") > len(fields) + 1 or any(edge in text for edge in _EDGES):
        raise _malformed("an illegal header value")


def _malformed(reason: str) -> StreamFault:
    return StreamFault(PROTOCOL_ERROR, reason)
