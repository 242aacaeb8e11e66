"""Clients that count: an exact number of requests, connections in a burst, requests that must not fail."""

from __future__ import annotations

import http.client
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType

from .servers import HOST, Running


@dataclass(frozen=True)
class Request:
    """One request as the mixed load sends it."""

    method: str
    path: str
    body: bytes = b""
    content_type: str = ""


MIXED = (
    Request("GET", "/json"),
    Request("GET", "/hello/ann/7?from=bob"),
    Request("POST", "/echo", b"x" * 1024, "application/octet-stream"),
    Request("POST", "/form", b"name=Ann+Example&email=ann%40example.org", "application/x-www-form-urlencoded"),
    Request("GET", "/template"),
    Request("GET", "/stream"),
    Request("GET", "/large"),
    Request("GET", "/text"),
    Request("GET", "/static/style.css"),
    Request("GET", "/def"),
)


def send_mixed(server: Running, count: int, connections: int = 16, mixed: Sequence[Request] = MIXED) -> Counter[int]:
    """Send `count` requests of every kind over some connections in turn; return how many each worker pid has."""
    lines = [http.client.HTTPConnection(HOST, server.port, timeout=30) for _ in range(connections)]
    try:
        for line in lines:
            line.connect()
            line.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pids = Counter(int(_exchange(line, Request("GET", "/pid"))) for line in lines)
        for number in range(count - connections):
            _exchange(lines[number % connections], mixed[number // connections % len(mixed)])
    finally:
        for line in lines:
            line.close()
    return pids


def _exchange(line: http.client.HTTPConnection, request: Request) -> bytes:
    headers = {"Content-Type": request.content_type} if request.content_type else {}
    line.request(request.method, request.path, request.body or None, headers)
    response = line.getresponse()
    body = response.read()
    if response.status != 200:
        raise http.client.HTTPException(f"{request.method} {request.path}: {response.status}")
    return body


def reach_every_worker(server: Running, workers: int, attempts: int = 40, mixed: Sequence[Request] = MIXED) -> set[int]:
    """Send mixed requests over ever new connections until every worker has had some; return their pids."""
    pids: set[int] = set()
    for _ in range(attempts):
        pids |= set(send_mixed(server, 16 * (1 + len(mixed)), mixed=mixed))
        if len(pids) >= workers:
            break
    return pids


def burst(server: Running, connections: int, settle_s: float = 0.5) -> Counter[int]:
    """Open connections all at once, give the server a moment, then ask each which worker holds it."""
    lines: list[socket.socket] = []
    try:
        for _ in range(connections):
            line = socket.socket()
            lines.append(line)
            line.setblocking(False)
            line.connect_ex((HOST, server.port))
        time.sleep(settle_s)
        for line in lines:
            line.settimeout(10)
            line.sendall(b"GET /pid HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return Counter(int(_body(line)) for line in lines)
    finally:
        for line in lines:
            line.close()


def _body(line: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        part = line.recv(65536)
        if not part:
            raise ConnectionError("closed before the answer was whole")
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        int(v) for k, _, v in (h.partition(b":") for h in head.lower().split(b"\r\n")) if k == b"content-length"
    )
    while len(body) < length:
        part = line.recv(65536)
        if not part:
            raise ConnectionError("closed before the answer was whole")
        body += part
    return body


@dataclass
class Tally:
    """What became of the requests of a load."""

    answered: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    pids: set[int] = field(default_factory=set)
    longest_s: float = 0.0
    at: list[float] = field(default_factory=list)

    @property
    def failed(self) -> int:
        return self.failures.total()

    @property
    def longest_gap_s(self) -> float:
        """The longest time in which no request at all was answered."""
        return max((b - a for a, b in zip(self.at, self.at[1:], strict=False)), default=0.0)


class SteadyLoad:
    """Threads that send GET /slow without end: half of them keep their connection, half make a new one each time."""

    def __init__(self, server: Running, threads: int = 8, path: str = "/slow?seconds=0.01") -> None:
        self.tally = Tally()
        self._server = server
        self._path = path
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(number % 2 == 0,), daemon=True) for number in range(threads)
        ]

    def __enter__(self) -> Tally:
        for thread in self._threads:
            thread.start()
        return self.tally

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(35)
        self.tally.at.sort()

    def _run(self, keep: bool) -> None:
        line: http.client.HTTPConnection | None = None
        headers = {} if keep else {"Connection": "close"}
        while not self._stop.is_set():
            begin = time.monotonic()
            try:
                if line is None:
                    line = http.client.HTTPConnection(HOST, self._server.port, timeout=30)
                line.request("GET", self._path, headers=headers)
                response = line.getresponse()
                body = response.read()
                if response.status != 200:
                    raise http.client.HTTPException(f"status {response.status}")
            except (OSError, http.client.HTTPException) as error:
                self._note(begin, type(error).__name__)
                if line is not None:
                    line.close()
                line = None
                time.sleep(0.01)
                continue
            self._note(begin, "", int(body))
            if line.sock is None or not keep:
                line.close()
                line = None

    def _note(self, begin: float, failure: str, pid: int = 0) -> None:
        now = time.monotonic()
        with self._lock:
            tally = self.tally
            if failure:
                tally.failures[failure] += 1
                return
            tally.answered += 1
            tally.pids.add(pid)
            tally.at.append(now)
            tally.longest_s = max(tally.longest_s, now - begin)


def wait_for(condition: Callable[[], bool], timeout_s: float, every_s: float = 0.02) -> bool:
    """Return whether the condition came true in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(every_s)
    return False


def first_answer_s(server: Running, connections: int, since: float, old: set[int], timeout_s: float) -> float | None:
    """Ask for /pid over some connections; return the seconds from `since` until a worker not in `old` answers."""
    lines: list[socket.socket] = []
    try:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            try:
                while len(lines) < connections:
                    line = socket.create_connection((HOST, server.port), 1.0)
                    lines.append(line)
                    line.sendall(b"GET /pid HTTP/1.1\r\nHost: localhost\r\n\r\n")
            except OSError:
                time.sleep(0.001)
            ready, _, _ = select.select(lines, [], [], 0.25)
            for line in ready:
                lines.remove(line)
                with line, suppress(OSError):
                    if int(_body(line)) not in old:
                        return time.monotonic() - since
        return None
    finally:
        for line in lines:
            line.close()


def hold(server: Running, pid: int, seconds: float) -> list[socket.socket]:
    """Have the worker `pid` sit in a blocking handler; return the connections to close afterwards.

    Which worker takes a connection is the server's affair, so connections are opened until `pid` has one.
    """
    lines: list[socket.socket] = []
    for _ in range(200):
        line = socket.create_connection((HOST, server.port), 5)
        lines.append(line)
        line.sendall(b"GET /pid HTTP/1.1\r\nHost: localhost\r\n\r\n")
        if int(_body(line)) == pid:
            line.sendall(f"GET /block?seconds={seconds} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            time.sleep(0.03)
            return lines
    raise ConnectionError(f"no connection reached worker {pid}")


def pids_answering(server: Running, count: int, attempts: int = 400) -> set[int]:
    """Return the worker pids that answer, asking over new connections until there are `count`."""
    pids: set[int] = set()
    for _ in range(attempts):
        with socket.create_connection((HOST, server.port), 5) as line:
            line.sendall(b"GET /pid HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            pids.add(int(_body(line)))
        if len(pids) >= count:
            break
    return pids
