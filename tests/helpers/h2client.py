"""A small HTTP/2 client over TLS that sees what the server says at the end: GOAWAY, and with which code."""

from __future__ import annotations

import ssl
import time

import h2.config
import h2.connection
import h2.events

from .http import Address, Answer, Connection, ResetUnanswered, TimedOut, Truncated


class H2Connection:
    """One connection; requests one after the other or several under way (`begin`, then `finish`)."""

    def __init__(self, address: Address, context: ssl.SSLContext, timeout_s: float = 10.0) -> None:
        self.socket = Connection(address, timeout_s, context).socket
        assert isinstance(self.socket, ssl.SSLSocket)
        self.protocol = self.socket.selected_alpn_protocol()
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.events: list[h2.events.Event] = []
        self.ended = False
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

    def begin(self, path: str) -> int:
        """Send a GET; returns the stream to `finish`."""
        stream: int = self._h2.get_next_available_stream_id()
        headers = [(":method", "GET"), (":path", path), (":scheme", "https"), (":authority", "localhost")]
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
        for event in self._h2.receive_data(data):
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

    @property
    def goaway(self) -> h2.events.ConnectionTerminated | None:
        terminated = [event for event in self.events if isinstance(event, h2.events.ConnectionTerminated)]
        return terminated[0] if terminated else None
