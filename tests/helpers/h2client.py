"""A small HTTP/2 client over TLS that sees what the server says at the end: GOAWAY, and with which code.

GOAWAY frames are taken out before h2 sees them: on one, h2 declares the connection closed and refuses the
answers to streams the server still finishes, as it has promised to.
"""

from __future__ import annotations

import ssl
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass

import h2.config
import h2.connection
import h2.events
import hpack

from .http import Address, Answer, Connection, ResetUnanswered, TimedOut, Truncated

_FRAME_HEAD = 9
_GOAWAY = 7


def websocket_opening() -> bytes:
    """Return a client's preface, its settings, and an extended CONNECT to /ws (RFC 8441), for HTTP/2 without TLS."""
    block = hpack.Encoder().encode(
        {
            ":method": "CONNECT",
            ":protocol": "websocket",
            ":scheme": "http",
            ":path": "/ws?token=secret",
            ":authority": "localhost",
            "sec-websocket-version": "13",
            "x-request-id": "over-h2",
        }
    )
    settings, headers = b"\0\0\0\x04\0\0\0\0\0", len(block).to_bytes(3, "big") + b"\x01\x04\0\0\0\x01"
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + headers + block


@dataclass(frozen=True)
class GoAway:
    """The server takes no stream above last_stream any more; error_code 0: it simply ends."""

    last_stream: int
    error_code: int


class H2Connection:
    """One connection; requests one after the other or several under way (`begin`, then `finish`)."""

    def __init__(self, address: Address, context: ssl.SSLContext, timeout_s: float = 10.0, ahead: bytes = b"") -> None:
        """ahead: sent before TLS begins."""
        bare = Connection(address, timeout_s).socket
        bare.sendall(ahead)
        self.socket = context.wrap_socket(bare, server_hostname="localhost")
        assert isinstance(self.socket, ssl.SSLSocket)
        self.protocol = self.socket.selected_alpn_protocol()
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.events: list[h2.events.Event] = []
        self.ended = False
        self.goaway: GoAway | None = None
        self._unread = b""
        self._h2.initiate_connection()
        self._flush()

    def __enter__(self) -> H2Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def _flush(self) -> None:
        try:
            self.socket.sendall(self._h2.data_to_send())
        except OSError as error:
            raise ResetUnanswered(str(error)) from error

    def begin(self, path: str, more: Sequence[tuple[str, str]] = ()) -> int:
        """Send a GET; returns the stream to `finish`."""
        stream: int = self._h2.get_next_available_stream_id()
        headers = [(":method", "GET"), (":path", path), (":scheme", "https"), (":authority", "localhost"), *more]
        self._h2.send_headers(stream, headers, end_stream=True)
        self._flush()
        return stream

    def pump(self, timeout_s: float) -> bool:
        """Read once; False when nothing came in time or the connection has ended."""
        if self.ended:
            return False
        self.socket.settimeout(timeout_s)
        try:
            data = self.socket.recv(65536)
        except TimeoutError:
            return False
        except OSError as error:
            raise Truncated(str(error)) from error
        if not data:
            self.ended = True
            return False
        for event in self._h2.receive_data(self._without_goaway(data)):
            self.events.append(event)
            if isinstance(event, h2.events.DataReceived):
                self._h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
        if pending := self._h2.data_to_send():
            self.socket.sendall(pending)
        return True

    def finish(self, stream: int, timeout_s: float = 10.0) -> Answer:
        begun = time.monotonic()
        while not any(isinstance(event, h2.events.StreamEnded) and event.stream_id == stream for event in self.events):
            if time.monotonic() - begun > timeout_s:
                raise TimedOut(f"stream {stream}")
            if not self.pump(timeout_s) and self.ended:
                raise ResetUnanswered(f"connection ended before stream {stream} did")
        headers: dict[str, str] = {}
        body = b""
        for event in self.events:
            if isinstance(event, h2.events.ResponseReceived) and event.stream_id == stream:
                headers = {str(name): str(value) for name, value in event.headers or []}
            if isinstance(event, h2.events.DataReceived) and event.stream_id == stream:
                body += event.data or b""
        return Answer(int(headers[":status"]), headers, body, time.monotonic() - begun)

    def get(self, path: str = "/", timeout_s: float = 10.0) -> Answer:
        return self.finish(self.begin(path), timeout_s)

    def _without_goaway(self, data: bytes) -> bytes:
        """The whole frames of what has been read, except GOAWAY, which is kept in `goaway`."""
        self._unread += data
        passed = b""
        while len(self._unread) >= _FRAME_HEAD:
            end = _FRAME_HEAD + int.from_bytes(self._unread[:3], "big")
            if len(self._unread) < end:
                break
            frame, self._unread = self._unread[:end], self._unread[end:]
            if frame[3] == _GOAWAY:
                last_stream, code = struct.unpack("!II", frame[_FRAME_HEAD : _FRAME_HEAD + 8])
                self.goaway = self.goaway or GoAway(last_stream & 0x7FFFFFFF, code)
            else:
                passed += frame
        return passed
