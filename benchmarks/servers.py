"""The servers under test: how each is started, found to be up, and ended."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from . import proc

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = "benchmarks.app"
APP = f"{PROGRAM}:app"
HOST = "127.0.0.1"
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 15.0


class ServerFailedError(Exception):
    """A server did not start, or ended by itself; its output is in the text."""


@dataclass(frozen=True)
class Plan:
    """What a server is asked to be."""

    workers: int = 2
    tls: bool = False
    http2: bool = False
    #: The module that is served.
    program: str = PROGRAM

    @property
    def app(self) -> str:
        return f"{self.program}:app"


Command = Callable[[Plan, int], list[str]]


def _tool(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def _aeros(plan: Plan, port: int) -> list[str]:
    tls = ["--certfile", certificate().cert, "--keyfile", certificate().key] if plan.tls else []
    return [sys.executable, "-m", plan.program, "-w", str(plan.workers), "--bind", f"{HOST}:{port}", *tls]


def _aeros_warm(plan: Plan, port: int) -> list[str]:
    paths = (
        "/json",
        "/hello/a/1?from=b",
        "/template",
        "/stream",
        "/large",
        "/text",
        "/static/style.css",
        "/def",
        "/pid",
    )
    return [*_aeros(plan, port), *(word for path in paths for word in ("--warmup", path))]


def _aeros_run(plan: Plan, port: int) -> list[str]:
    return [_tool("aeros"), "run", plan.app, "-w", str(plan.workers), "--bind", f"{HOST}:{port}"]


def _uvicorn(plan: Plan, port: int) -> list[str]:
    tls = ["--ssl-certfile", certificate().cert, "--ssl-keyfile", certificate().key] if plan.tls else []
    http = ["--http", "zttp", "--http2"] if plan.http2 else ["--http", "httptools"]
    return [
        *(_tool("uvicorn"), "--loop", "uvloop", *http, "--no-access-log", "--log-level", "warning"),
        *("--workers", str(plan.workers), "--host", HOST, "--port", str(port), *tls, plan.app),
    ]


def _hypercorn(plan: Plan, port: int) -> list[str]:
    tls = ["--certfile", certificate().cert, "--keyfile", certificate().key] if plan.tls else []
    return [_tool("hypercorn"), "-k", "uvloop", "-w", str(plan.workers), "-b", f"{HOST}:{port}", *tls, plan.app]


def _gunicorn(plan: Plan, port: int) -> list[str]:
    tls = ["--certfile", certificate().cert, "--keyfile", certificate().key] if plan.tls else []
    http = ["--http-protocols", "h2,h1"] if plan.http2 else []
    return [
        *(_tool("gunicorn"), "-k", "asgi", "-w", str(plan.workers), "-b", f"{HOST}:{port}", "--log-level", "warning"),
        *("--no-control-socket", *tls, *http, plan.app),
    ]


def _gunicorn_preload(plan: Plan, port: int) -> list[str]:
    return [*_gunicorn(plan, port)[:-1], "--preload", plan.app]


def _granian(plan: Plan, port: int) -> list[str]:
    tls = ["--ssl-certificate", certificate().cert, "--ssl-keyfile", certificate().key] if plan.tls else []
    return [
        *(_tool("granian"), "--interface", "asgi", "--loop", "uvloop", "--log-level", "warning"),
        *("--workers", str(plan.workers), "--host", HOST, "--port", str(port), *tls, plan.app),
    ]


@dataclass(frozen=True)
class Kind:
    """One server program."""

    name: str
    package: str
    command: Command

    @property
    def version(self) -> str:
        return version(self.package)

    def shown(self, plan: Plan) -> str:
        """Return the command line as a reader would type it."""
        words = [Path(word).name if word.startswith("/") else word for word in self.command(plan, 8000)]
        return " ".join(words)


KINDS = {
    kind.name: kind
    for kind in (
        Kind("aeros", "aeros", _aeros),
        Kind("aeros --warmup", "aeros", _aeros_warm),
        Kind("aeros run", "aeros", _aeros_run),
        Kind("uvicorn", "uvicorn", _uvicorn),
        Kind("hypercorn", "hypercorn", _hypercorn),
        Kind("gunicorn", "gunicorn", _gunicorn),
        Kind("gunicorn --preload", "gunicorn", _gunicorn_preload),
        Kind("granian", "granian", _granian),
    )
}
PEERS = ("uvicorn", "hypercorn", "gunicorn", "granian")


@dataclass
class Running:
    """A server that answers."""

    kind: Kind
    plan: Plan
    port: int
    process: subprocess.Popen[bytes]
    output: Path
    boot_s: float = 0.0

    @property
    def name(self) -> str:
        return self.kind.name

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def pids(self) -> list[int]:
        """The whole family, as it is now."""
        return proc.family(self.pid)

    @property
    def url(self) -> str:
        return f"{'https' if self.plan.tls else 'http'}://{HOST}:{self.port}"

    def cpu_s(self) -> float:
        return proc.cpu_s(self.pids)

    def memory(self) -> proc.Memory:
        return proc.memory(self.pids)

    def check(self) -> None:
        """Raise ServerFailedError if it has ended."""
        if self.process.poll() is not None:
            text = self.output.read_text(errors="replace")[-2000:]
            raise ServerFailedError(f"{self.name} ended with code {self.process.returncode}:\n{text}")


@contextmanager
def running(name: str, plan: Plan, *, settle: bool = True) -> Iterator[Running]:
    """Start a server, wait for its first answer (settle: and for all its workers), end it afterwards."""
    kind = KINDS[name]
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        output = Path(scratch, "output")
        environment = {**os.environ, "XDG_RUNTIME_DIR": scratch, "PYTHONUNBUFFERED": "1"}
        for variable in ("WEB_CONCURRENCY", "PYTHONDONTWRITEBYTECODE"):
            environment.pop(variable, None)
        with output.open("wb") as sink:
            begin = time.monotonic()
            process = subprocess.Popen(
                kind.command(plan, port),
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        server = Running(kind, plan, port, process, output)
        try:
            _wait_for_answer(server, begin)
            if settle:
                wait_until_quiet(server)
            yield server
        finally:
            _end(server)


@contextmanager
def all_running(names: Sequence[str], plan: Plan) -> Iterator[dict[str, Running]]:
    """Start several servers, to be measured in turns."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(running(name, plan)) for name in names}


def wait_until_quiet(server: Running, quiet_s: float = 0.5) -> None:
    """Wait until the family uses next to no CPU: all workers are up, and none has anything to do."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    before = server.cpu_s()
    while time.monotonic() < deadline:
        time.sleep(quiet_s)
        server.check()
        now = server.cpu_s()
        if now - before <= 0.1 * quiet_s:
            return
        before = now


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def get(server: Running, path: str, timeout_s: float = 5.0) -> bytes:
    """Return what a fresh connection gets for GET `path`: status line, headers and body. Raises OSError.

    It does not wait for the server to close: gunicorn with Quart 0.23 says it will, and does not.
    """
    with socket.create_connection((HOST, server.port), timeout_s) as plain:
        line: socket.socket = plain
        if server.plan.tls:
            line = _CLIENT_TLS().wrap_socket(plain, server_hostname="localhost")
        with line:
            line.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while not _is_whole(answer) and (part := line.recv(65536)):
                answer += part
    return answer


def _is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    return bool(end) and length is not None and len(body) >= int(length[1])


@lru_cache
def _CLIENT_TLS() -> ssl.SSLContext:  # noqa: N802
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _wait_for_answer(server: Running, begin: float) -> None:
    while time.monotonic() - begin < _START_TIMEOUT_S:
        server.check()
        with suppress(OSError):
            if b" 200 " in get(server, "/text")[:20]:
                server.boot_s = time.monotonic() - begin
                return
        time.sleep(0.002)
    raise ServerFailedError(f"{server.name} did not answer in {_START_TIMEOUT_S:.0f} s")


def _end(server: Running) -> None:
    """Stop the server, and then whatever is left of its session."""
    pids = server.pids
    if server.process.poll() is None:
        server.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            server.process.wait(_STOP_TIMEOUT_S)
    for pid in {*pids, *proc.members(server.pid)}:
        if proc.session(pid) == server.pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    server.process.wait()


@dataclass(frozen=True)
class Certificate:
    cert: str
    key: str


@lru_cache
def certificate() -> Certificate:
    """Return a self-signed certificate for localhost, made anew where there is none."""
    folder = ROOT / ".bench"
    folder.mkdir(exist_ok=True)
    cert, key = folder / "cert.pem", folder / "key.pem"
    if not cert.exists():
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
                *("-days", "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
                *("-keyout", str(key), "-out", str(cert)),
            ],
            check=True,
            capture_output=True,
        )
    return Certificate(str(cert), str(key))
