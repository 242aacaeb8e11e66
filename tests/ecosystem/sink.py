"""A collector of what tools send over HTTP: it answers everything, and keeps each request."""

from __future__ import annotations

import gzip
import threading
import zlib
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Sent:
    path: str
    body: bytes


class Sink(ThreadingHTTPServer):
    """Listens at a free port of 127.0.0.1 until closed. `sent`: all that came, unpacked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.sent: list[Sent] = []
        threading.Thread(target=self.serve_forever, name="sink", daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def count(self, text: bytes, path: str = "") -> int:
        """How often the text came, in requests whose path has `path` in it."""
        return sum(one.body.count(text) for one in list(self.sent) if path in one.path)

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Sink
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self._body()
        packed = self.headers.get("content-encoding", "")
        body = gzip.decompress(body) if packed == "gzip" else zlib.decompress(body) if packed == "deflate" else body
        self.server.sent.append(Sent(self.path, body))
        answer = b"{}"
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_PUT = do_GET = do_POST  # noqa: N815

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def log_message(self, *_: object) -> None:
        pass
