"""What a byte costs: processor time per 256 KiB of each kind of input, beside peers, and the longest turn of the loop;
and what all clients together can make one worker keep of bodies, with default options.

scripts/bytes [--seconds S] [--only TEXT] [--servers NAME ...] [--write]; --write puts the table into docs/hostile.md,
the memory into SECURITY.md.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
import socket
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from importlib.metadata import version
from pathlib import Path

from . import proc, servers
from .inputs import INPUTS, PREFACE, SETTINGS, SIZE, Input, frame
from .servers import Kind, Plan, Running

PAGE = servers.ROOT / "docs/hostile.md"
SECURITY = servers.ROOT / "SECURITY.md"
UPLOADS, UPLOAD = 100, 16 << 20
"""How many bodies are offered to one worker, all at the same time, and how large each is."""

QUIET_S = 5.0
SLOW_S = 3.0
"""A server that takes so long for a kind of input is measured once."""
APP = "benchmarks.reading:app"
PATIENCE_S = 60.0
SERVERS = ("aeros", "uvicorn", "granian", "hypercorn")
LEAVES_OUT = {("uvicorn", "http2"): "does not speak it in the clear"}


def _command(name: str) -> servers.Command:
    of_peer = servers.KINDS[name].command

    def command(plan: Plan, port: int) -> list[str]:
        if name == "aeros":
            return [sys.executable, "-m", "aeros", "run", APP, "-w", "1", "--bind", f"{servers.HOST}:{port}"]
        return [word if word != servers.APP else APP for word in of_peer(plan, port)]

    return command


class Line:
    """One connection to a server, and how many answers have come on it."""

    def __init__(self, server: Running, protocol: str) -> None:
        self.protocol = protocol
        self.socket = socket.create_connection((servers.HOST, server.port), 5)
        self.batch = 0
        self.answers = 0
        self.ended = False
        self._unread = b""
        if protocol == "http2":
            self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0))
        elif protocol == "websocket":
            self.socket.sendall(
                b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            while b"\r\n\r\n" not in self._unread:
                self._unread += self.socket.recv(1)
            self._unread = b""
        self.socket.setblocking(False)

    def exchange(self, kind: Input) -> int:
        """Send a batch and wait for its answers; return how many bytes the server took of it."""
        data, expected = kind.make(self.batch)
        self.batch += 1
        left = memoryview(data)
        wanted = self.answers + expected
        deadline = time.monotonic() + PATIENCE_S
        while (left or self.answers < wanted) and not self.ended and time.monotonic() < deadline:
            if left:
                try:
                    left = left[self.socket.send(left) :]
                except BlockingIOError:
                    time.sleep(0.0005)
                except OSError:
                    self.ended = True
            self._read()
            if not left and self.answers < wanted:
                time.sleep(0.0005)
        return len(data) - len(left)

    def _read(self) -> None:
        while True:
            try:
                data = self.socket.recv(1 << 18)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.ended = True
                return
            self._unread += data
            self._count()

    def _count(self) -> None:
        if self.protocol == "http1":
            self.answers += self._unread.count(b"HTTP/1.1 200")
            self.ended = self.ended or b"HTTP/1.1 4" in self._unread or b"HTTP/1.1 5" in self._unread
            self._unread = self._unread[-11:]
        elif self.protocol == "websocket":
            self.answers += self._unread.count(b"\x81\x04read")
            self._unread = self._unread[-5:]
        else:
            self._count_frames()

    def _count_frames(self) -> None:
        data, at = self._unread, 0
        while len(data) - at >= 9:
            end = at + 9 + int.from_bytes(data[at : at + 3], "big")
            if end > len(data):
                break
            kind, flags = data[at + 3], data[at + 4]
            if kind in (0, 1) and flags & 1:
                self.answers += 1
            elif kind == 7:
                self.ended = True
            at = end
        self._unread = data[at:]

    def close(self) -> None:
        self.socket.close()


def cpu_s(server: Running) -> float:
    """Return the processor time of a server's processes so far, in seconds, to the nanosecond."""
    total = 0
    for pid in proc.family(server.pid):
        with suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def longest_ms(server: Running) -> float:
    """Return the longest turn of the loop since the last time this was asked."""
    text = servers.get(server, "/longest").rpartition(b"\r\n\r\n")[2]
    return float(text)


class Result:
    """What one kind of input came to at one server."""

    def __init__(self, cost_ms: float | None, turn_ms: float | None, note: str = "") -> None:
        self.cost_ms, self.turn_ms, self.note = cost_ms, turn_ms, note

    def __str__(self) -> str:
        if self.cost_ms is None:
            return self.note or "-"
        return f"{self.cost_ms:.1f}" + (f" ({self.note})" if self.note else "")


def measure(server: Running, kind: Input, seconds: float) -> Result:
    costs: list[float] = []
    refused = 0
    _warm_up(server, kind)
    longest_ms(server)
    begun = time.monotonic()
    while time.monotonic() - begun < seconds or (len(costs) < 3 and time.monotonic() - begun < SLOW_S):
        line = Line(server, kind.protocol)
        try:
            taken, before = 0, cpu_s(server)
            for _ in range(4):
                taken += line.exchange(kind)
                if line.ended:
                    refused += 1
                if line.ended or time.monotonic() - begun > SLOW_S:
                    break
            costs.append((cpu_s(server) - before) * 1000 * SIZE / max(taken, 1))
        finally:
            line.close()
        if refused >= 3:
            break
    turn = longest_ms(server)
    return Result(statistics.median(costs), turn, "refused" if refused else "")


def _warm_up(server: Running, kind: Input) -> None:
    """Have the server import and make what it needs for the kind once."""
    line = Line(server, kind.protocol)
    line.exchange(kind)
    line.close()


def rows(names: list[str], only: str, seconds: float) -> Iterator[tuple[Input, dict[str, Result]]]:
    kinds = {name: Kind(name, name, _command(name)) for name in names}
    servers.KINDS.update(kinds)
    with ExitStack() as stack:
        running = {name: stack.enter_context(servers.running(name, Plan(workers=1), settle=False)) for name in names}
        for kind in INPUTS:
            if only not in f"{kind.protocol} {kind.name}":
                continue
            found = {}
            for name, server in running.items():
                if (name, kind.protocol) in LEAVES_OUT:
                    found[name] = Result(None, None)
                    continue
                try:
                    found[name] = measure(server, kind, seconds)
                except OSError as error:
                    found[name] = Result(None, None, type(error).__name__)
            yield kind, found


_PROTOCOLS = {"http1": "HTTP/1", "http2": "HTTP/2", "websocket": "WebSocket"}


def table(found: list[tuple[Input, dict[str, Result]]], names: list[str]) -> str:
    when = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}"
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    left_out = "; ".join(f"{name} {text}" for (name, _), text in LEAVES_OUT.items())
    lines = [
        f"{when}, Python {platform.python_version()}, one worker each, the same ASGI app; {versions}. *refused*: the "
        f"server ended the connection, and the figure is for what it had read. -: {left_out}.",
        "",
        f"| Input | {' | '.join(names)} | longest turn of Aeros |",
        f"|---|{'--:|' * (len(names) + 1)}",
    ]
    for kind, results in found:
        turn = results[names[0]].turn_ms
        cells = [str(results[name]) for name in names]
        shown = "" if turn is None else f"{turn:.1f}"
        lines.append(f"| {_PROTOCOLS[kind.protocol]}: {kind.name} | {' | '.join(cells)} | {shown} |")
    return "\n".join(lines)


def kept_of_uploads() -> int:
    """Return how many MiB a worker grew by while many uploads were offered to it that never end."""

    def command(plan: Plan, port: int) -> list[str]:
        return [sys.executable, "-m", "aeros", "run", servers.APP, "-w", "1", "--bind", f"{servers.HOST}:{port}"]

    servers.KINDS["aeros with Quart"] = Kind("aeros with Quart", "aeros", command)
    head = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (UPLOAD + 1)
    with servers.running("aeros with Quart", Plan(workers=1), settle=False) as server, ExitStack() as stack:
        before, most, last = _rss(server), 0, time.monotonic()
        lines = {}
        for _ in range(UPLOADS):
            line = stack.enter_context(socket.create_connection((servers.HOST, server.port), 5))
            line.sendall(head)
            line.setblocking(False)
            lines[line] = UPLOAD
        while time.monotonic() - last < QUIET_S:
            for line, left in list(lines.items()):
                count = 0
                with suppress(BlockingIOError):
                    try:
                        count = line.send(bytes(min(left, 1 << 18)))
                    except ConnectionError:
                        lines[line] = 0
                lines[line] -= count
                last = time.monotonic() if count else last
                if lines[line] <= 0:
                    del lines[line]
            most = max(most, _rss(server))
            time.sleep(0.01)
        return (most - before) >> 20


def _rss(server: Running) -> int:
    """Return the resident memory of the largest process of the family, in bytes."""
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in server.pids]
    return max(pages) * os.sysconf("SC_PAGE_SIZE")


def memory() -> str:
    grown = kept_of_uploads()
    when = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}"
    return (
        f"{when}: {UPLOADS} clients offered one worker with default options a body of {UPLOAD >> 20} MiB each, "
        f"{UPLOADS * UPLOAD >> 20} MiB together, which handlers awaited and which never ended: it grew by {grown} MiB."
    )


def write(page: Path, part: str, text: str) -> None:
    """Put it into the page, between its markers."""
    begin, end = f"<!-- generated: {part} -->", f"<!-- end: {part} -->"
    before = page.read_text()
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if len(pattern.findall(before)) != 1:
        raise SystemExit(f"{page}: {begin} … {end} must stand there once")
    page.write_text(pattern.sub(lambda _: f"{begin}\n{text}\n{end}", before))
    print(f"{page.name} written")


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bytes", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="for each kind and server, at least")
    parser.add_argument("--only", default="", help="kinds whose name has this text")
    parser.add_argument("--servers", nargs="+", default=list(SERVERS))
    parser.add_argument("--write", action="store_true", help="put the table into docs/hostile.md")
    arguments = parser.parse_args()
    found = []
    for kind, results in rows(arguments.servers, arguments.only, arguments.seconds):
        found.append((kind, results))
        shown = "  ".join(f"{name} {result} [{result.turn_ms or 0:.1f}]" for name, result in results.items())
        print(f"{kind.protocol:9} {kind.name:34} {shown}", flush=True)
    text = memory() if not arguments.only or arguments.only == "memory" else ""
    print(text)
    if arguments.write and found:
        write(PAGE, "bytes", table(found, arguments.servers))
    if arguments.write and text:
        write(SECURITY, "memory", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
