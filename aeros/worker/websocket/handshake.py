"""The opening handshake of a WebSocket over HTTP/1.1 (RFC 6455 section 4): what is asked for, what is answered."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable

from ..http1.response import header_line, without
from ..lane.head import Head, Pair
from .deflate import Agreement, agree

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
VERSION = b"13"


class Handshake:
    """What a client asks for. reason: why it cannot have it, "" if it can."""

    __slots__ = ("_extensions", "_key", "reason", "subprotocols", "wrong_version")

    def __init__(self, head: Head) -> None:
        key = version = None
        self._extensions: list[bytes] = []
        self.subprotocols: list[str] = []
        for name, value in head.headers:
            lower = name.lower()
            if not lower.startswith(b"sec-websocket-"):
                continue
            if lower == b"sec-websocket-key":
                key = value if key is None else b""
            elif lower == b"sec-websocket-version":
                version = value
            elif lower == b"sec-websocket-protocol":
                self.subprotocols += [item.strip() for item in value.decode("latin1").split(",")]
            elif lower == b"sec-websocket-extensions":
                self._extensions.append(value)
        self._key = key or b""
        self.wrong_version = False
        self.reason = ""
        if head.version != "1.1":
            self.reason = "not HTTP/1.1"
        elif head.has_body:
            self.reason = "a body"
        elif not _is_nonce(self._key):
            self.reason = "no Sec-WebSocket-Key, or not one of 16 bytes"
        elif version != VERSION:
            self.reason = "another version"
            self.wrong_version = True

    def accept(self, subprotocol: str | None, headers: Iterable[Pair], common: bytes) -> tuple[bytes, Agreement | None]:
        """Return the response and what was agreed on. Raises ValueError for what the app may not answer."""
        lines = [b"HTTP/1.1 101 Switching Protocols\r\n"]
        if subprotocol is not None:
            if subprotocol not in self.subprotocols:
                raise ValueError(f"the client did not offer the subprotocol {subprotocol!r}, but {self.subprotocols}")
            lines.append(b"sec-websocket-protocol: %s\r\n" % subprotocol.encode("latin1"))
        agreement = agree(self._extensions) if self._extensions else None
        if agreement is not None:
            lines.append(b"sec-websocket-extensions: %s\r\n" % agreement.header())
        token = base64.b64encode(hashlib.sha1(self._key + _GUID, usedforsecurity=False).digest())
        lines.append(b"sec-websocket-accept: %s\r\nupgrade: WebSocket\r\nconnection: Upgrade\r\n" % token)
        own: set[bytes] = set()
        for pair in headers:
            name = pair[0].encode() if isinstance(pair[0], str) else bytes(pair[0])
            lower = name.strip().lower()
            if lower in _OURS:
                raise ValueError(f"the header {name.decode('latin1')} of the handshake is not the app's to send")
            own.add(lower)
            lines.append(header_line(pair))
        lines += (without(common, own), b"\r\n")
        return b"".join(lines), agreement


_OURS = frozenset(b"sec-websocket-" + name for name in (b"protocol", b"extensions", b"accept")) | {
    b"upgrade",
    b"connection",
    b"transfer-encoding",
    b"content-length",
}


def _is_nonce(key: bytes) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        return False
