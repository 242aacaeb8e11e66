"""HTTP/1.1 over a plain socket: every way an answer can fail to come has a name of its own.

ExchangeError
├── Refused        nobody listens
├── ResetUnanswered  the request was sent (or half sent) and the connection ended without one byte of answer
├── Truncated      the answer began and did not end
└── TimedOut       nothing came in time
"""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

Address = tuple[str, int] | str


class ExchangeError(Exception):
    """A request that got no whole answer."""


class Refused(ExchangeError):
    pass


class ResetUnanswered(ExchangeError):
    pass


class Truncated(ExchangeError):
    pass


class TimedOut(ExchangeError):
    pass


@dataclass(frozen=True)
class Answer:
    """One whole response. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    took_s: float = 0.0
    raw_head: bytes = field(default=b"", repr=False)

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def says_close(self) -> bool:
        return self.headers.get("connection", "").lower() == "close"


def address_of(url: str) -> Address:
    """What to connect to for a URL as Aeros prints it: http://host:port, https://…, or unix:/path."""
    if url.startswith("unix:"):
        return url.removeprefix("unix:")
    if url.startswith("http+unix://"):
        return url.removeprefix("http+unix://")
    parts = urlsplit(url)
    assert parts.hostname is not None, url
    return parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


class Connection:
    """One connection, opened at once; over TLS where a context is given."""

    def __init__(self, address: Address, timeout_s: float = 10.0, tls: ssl.SSLContext | None = None) -> None:
        self.address = address
        try:
            if isinstance(address, str):
                self.socket = socket.socket(socket.AF_UNIX)
                try:
                    self.socket.settimeout(timeout_s)
                    self.socket.connect(address)
                except BaseException:
                    self.socket.close()
                    raise
            else:
                self.socket = socket.create_connection(address, timeout=timeout_s)
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except ConnectionRefusedError as error:
            raise Refused(str(error)) from error
        except ConnectionResetError as error:  # the listener was closed in between
            raise ResetUnanswered(f"connect: {error}") from error
        except TimeoutError as error:
            raise TimedOut(f"connect: {error}") from error
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self._buffer = b""

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def idle_closed(self) -> bool:
        """Whether the server has ended the connection by now. Only to be asked between two exchanges."""
        timeout = self.socket.gettimeout()
        self.socket.settimeout(0)
        try:
            # TLS cannot peek; but nothing is to come between two exchanges.
            flags = 0 if isinstance(self.socket, ssl.SSLSocket) else socket.MSG_PEEK
            return self.socket.recv(1, flags) == b""
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except ConnectionError:
            return True
        finally:
            self.socket.settimeout(timeout)

    def request(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        begun = time.monotonic()
        self.send(self.head(method, path, len(body), headers) + body)
        return self.read_answer(begun)

    def head(self, method: str, path: str, length: int = 0, headers: Mapping[str, str] | None = None) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", "host: localhost"]
        if length or method == "POST":
            lines.append(f"content-length: {length}")
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        return "\r\n".join([*lines, "", ""]).encode()

    def send(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except TimeoutError as error:
            raise TimedOut(f"send: {error}") from error
        except OSError as error:
            raise ResetUnanswered(f"send: {error}") from error

    def _more(self, had: bytes) -> bytes:
        try:
            data = self.socket.recv(65536)
        except TimeoutError as error:
            raise TimedOut(f"after {len(had)} bytes of answer") from error
        except OSError as error:
            raise (Truncated if had else ResetUnanswered)(f"{error} after {len(had)} bytes") from error
        if not data:
            raise (Truncated if had else ResetUnanswered)(f"end of stream after {len(had)} bytes")
        return data

    def read_head(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and the raw head; what follows stays buffered (see `read_some`)."""
        while b"\r\n\r\n" not in self._buffer:
            self._buffer += self._more(self._buffer)
        raw, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = raw.decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return int(first.split()[1]), headers, raw

    def read_some(self) -> bytes:
        """Body bytes as they come, at least one; for streams without an end."""
        data, self._buffer = self._buffer, b""
        return data or self._more(b"head")

    def read_answer(self, begun: float | None = None) -> Answer:
        begun = time.monotonic() if begun is None else begun
        status, headers, raw = self.read_head()
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = self._read_chunked()
        elif "content-length" in headers:
            length = int(headers["content-length"])
            while len(self._buffer) < length:
                self._buffer += self._more(raw)
            body, self._buffer = self._buffer[:length], self._buffer[length:]
        else:
            body = b"" if status in (204, 304) else self._read_to_end()
        return Answer(status, headers, body, time.monotonic() - begun, raw)

    def _read_chunked(self) -> bytes:
        body = b""
        while True:
            while b"\r\n" not in self._buffer:
                self._buffer += self._more(b"head")
            size_line, _, self._buffer = self._buffer.partition(b"\r\n")
            size = int(size_line.split(b";")[0], 16)
            while len(self._buffer) < size + 2:
                self._buffer += self._more(b"head")
            body += self._buffer[:size]
            self._buffer = self._buffer[size + 2 :]
            if size == 0:
                return body

    def _read_to_end(self) -> bytes:
        body, self._buffer = self._buffer, b""
        while True:
            try:
                data = self.socket.recv(65536)
            except OSError as error:
                raise Truncated(str(error)) from error
            if not data:
                return body
            body += data


def get(
    address: Address,
    path: str = "/",
    timeout_s: float = 10.0,
    tls: ssl.SSLContext | None = None,
    **headers: str,
) -> Answer:
    """One GET on a connection of its own."""
    with Connection(address, timeout_s, tls) as connection:
        return connection.request("GET", path, headers={"connection": "close", **headers})


def post(address: Address, path: str, body: bytes, timeout_s: float = 10.0) -> Answer:
    with Connection(address, timeout_s) as connection:
        return connection.request("POST", path, body, {"connection": "close"})
