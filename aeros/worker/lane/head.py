"""What a request line and its header fields say, whatever HTTP they came by."""

from __future__ import annotations

Headers = list[tuple[bytes, bytes]]

Pair = tuple[bytes, bytes] | tuple[str, str]
"""One header of a response, as an app gives it."""


class Head:
    """One parsed request head. Not changed after parsing, so it may be shared by equal requests."""

    __slots__ = (
        "chunked",
        "content_length",
        "expect_continue",
        "headers",
        "host",
        "keep_alive",
        "method",
        "path",
        "query_string",
        "raw_method",
        "raw_path",
        "size",
        "sized",
        "text_headers",
        "upgrade",
        "version",
    )

    method: str
    raw_method: bytes
    raw_path: bytes
    path: str
    query_string: bytes
    version: str
    headers: Headers
    host: bytes
    content_length: int  # 0 when the request has no body
    sized: bool  # a Content-Length was given, if only 0
    chunked: bool
    keep_alive: bool
    expect_continue: bool
    upgrade: str  # "" or "websocket"; to h2c it is ignored, a proxy that passes it on would be talked past
    size: int  # bytes of the head on the wire
    text_headers: list[tuple[str, str]] | None  # as Quart wants them; made when first wanted

    def take_fields(self, other: Head) -> None:
        """Take over what another head's header fields said, for a head whose fields are the same bytes."""
        self.headers = other.headers
        self.text_headers = other.text_headers
        self.host = other.host
        self.content_length = other.content_length
        self.sized = other.sized
        self.chunked = other.chunked
        self.keep_alive = other.keep_alive
        self.expect_continue = other.expect_continue
        self.upgrade = ""

    def take_host(self, host: bytes) -> None:
        """Have the target's host in place of the Host field's (RFC 9112 section 3.2.2)."""
        self.host = host
        self.headers = [(b"host", host), *(field for field in self.headers if field[0].lower() != b"host")]
        self.text_headers = None

    @property
    def has_body(self) -> bool:
        return self.chunked or self.content_length > 0
