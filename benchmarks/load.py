"""The load generators: wrk for HTTP/1.1, h2load for HTTP/2, and a small echo client of our own for WebSockets."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from .servers import HOST, Running
from .statistics import percentile

_LUA = Path(__file__).parent / "lua" / "load.lua"
_MARK = "RESULT "


class LoadError(Exception):
    """The load could not be made, or too much of it failed."""


@dataclass(frozen=True)
class Sample:
    """What one run of a load came to. Times in microseconds."""

    requests: int
    seconds: float
    failed: int
    p50_us: float
    p99_us: float
    p999_us: float

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


@dataclass(frozen=True)
class Http:
    """How a row of the table asks."""

    method: str = "GET"
    path: str = "/json"
    body: bytes = b""
    content_type: str = ""
    connections: int = 64
    close: bool = False
    depth: int = 1


def missing_tools() -> list[str]:
    """Return the Debian packages of what is not installed."""
    return [package for tool, package in (("wrk", "wrk"), ("h2load", "nghttp2-client")) if not shutil.which(tool)]


def wrk(server: Running, what: Http, seconds: float) -> Sample:
    """Load the server with one thread of wrk. Raises LoadError."""
    with tempfile.NamedTemporaryFile(prefix="bench-body-") as body:
        body.write(what.body)
        body.flush()
        environment = {
            **os.environ,
            "METHOD": what.method,
            "TYPE": what.content_type,
            "BODY": body.name if what.body else "",
            "CLOSE": "1" if what.close else "0",
            "DEPTH": str(what.depth),
        }
        command = ["wrk", "-t1", f"-c{what.connections}", f"-d{seconds:g}s", "--timeout", "10s", "-s", str(_LUA)]
        done = subprocess.run(
            [*command, server.url + what.path],
            env=environment,
            capture_output=True,
            text=True,
            timeout=seconds + 60,
            check=False,
        )
    return parse_wrk(done.stdout + done.stderr)


def parse_wrk(text: str) -> Sample:
    """Read what load.lua printed. Raises LoadError where there is nothing, or where answers were not 2xx."""
    for line in text.splitlines():
        if line.startswith(_MARK):
            found = json.loads(line.removeprefix(_MARK))
            break
    else:
        raise LoadError(f"wrk said nothing of its results: {text[-500:]}")
    if found["not_2xx"]:
        raise LoadError(f"{found['not_2xx']} of {found['requests']} answers were not 2xx")
    return Sample(
        found["requests"],
        found["duration_us"] / 1e6,
        found["failed"],
        found["p50_us"],
        found["p99_us"],
        found["p999_us"],
    )


def h2load(server: Running, path: str, seconds: float, connections: int = 16, streams: int = 4) -> Sample:
    """Load the server over HTTP/2 with TLS. Raises LoadError, also where the server does not speak it."""
    with tempfile.NamedTemporaryFile(prefix="bench-h2-") as log:
        command = ["h2load", "-t1", f"-c{connections}", f"-m{streams}", f"-D{seconds:g}", f"--log-file={log.name}"]
        begin = time.monotonic()
        done = subprocess.run(
            [*command, server.url + path], capture_output=True, text=True, timeout=seconds + 60, check=False
        )
        took = min(time.monotonic() - begin, seconds)
        report = Path(log.name).read_text()
        # h2load opens no connection anew that ended politely, by GOAWAY: it may be done before its time.
        return parse_h2load(done.stdout + done.stderr, report, min(took, span_s(report) or took))


def span_s(log: str) -> float:
    """Return the seconds from the first request's start to the last one's end in a log of h2load."""
    lines = [line.split("\t") for line in log.splitlines()]
    starts = [(int(fields[0]), int(fields[2])) for fields in lines if len(fields) >= 3 and fields[1].startswith("2")]
    if not starts:
        return 0.0
    return (max(start + took for start, took in starts) - min(start for start, _ in starts)) / 1e6


def parse_h2load(text: str, log: str, seconds: float) -> Sample:
    """Read h2load's report and its log: a line per request with start, status and microseconds."""
    if "Application protocol: h2" not in text:
        raise LoadError("the server does not speak HTTP/2")
    times, failed = [], 0
    for line in log.splitlines():
        fields = line.split("\t")
        if len(fields) >= 3 and fields[1].startswith("2"):
            times.append(int(fields[2]))
        else:
            failed += 1
    if not times:
        raise LoadError("no request was answered")
    return Sample(len(times), seconds, failed, percentile(times, 50), percentile(times, 99), percentile(times, 99.9))


def websocket(server: Running, seconds: float, connections: int = 64, size: int = 64) -> Sample:
    """Echo one message after the other over each connection; a request is one message there and back."""
    payload = b"m" * size
    mask = b"\x11\x22\x33\x44"
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    frame, answer = b"\x81" + bytes([0x80 | size]) + mask + masked, b"\x81" + bytes([size]) + payload
    lines = [_websocket(server) for _ in range(connections)]
    with selectors.DefaultSelector() as selector:
        sent: dict[int, float] = {}
        got: dict[int, bytes] = {}
        clock = time.perf_counter
        begin = clock()
        for line in lines:
            selector.register(line, selectors.EVENT_READ, line)
            sent[line.fileno()] = clock()
            got[line.fileno()] = b""
            line.sendall(frame)
        times: list[float] = []
        end = begin + seconds
        while (now := clock()) < end:
            for key, _ in selector.select(1.0):
                line, number = key.data, key.fd
                data = got[number] + line.recv(4096)
                if len(data) < len(answer):
                    if not data:
                        raise LoadError("the server closed a WebSocket")
                    got[number] = data
                    continue
                if data != answer:
                    raise LoadError("the echo is not what was sent")
                got[number] = b""
                now = clock()
                times.append(now - sent[number])
                sent[number] = now
                line.sendall(frame)
        took = clock() - begin
    for line in lines:
        line.close()
    if not times:
        raise LoadError("no message came back")
    return Sample(len(times), took, 0, *(percentile(times, part) * 1e6 for part in (50, 99, 99.9)))


def _websocket(server: Running) -> socket.socket:
    line = socket.create_connection((HOST, server.port), 10)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    line.sendall(
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        part = line.recv(1)
        if not part:
            raise LoadError("the server refused the WebSocket")
        head += part
    if b" 101 " not in head[:20]:
        raise LoadError(f"the server refused the WebSocket: {head[:60]!r}")
    return line
