"""The servers under test, each started as its users start it, from the environment that runs this."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

from tests.helpers.balancers import free_port
from tests.helpers.conditions import eventually

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("aeros", "uvicorn", "granian", "hypercorn")


def _tool(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def command(name: str, app: str, port: int, pair: tuple[Path, Path] | None, workers: int) -> list[str]:
    """Return what starts `name` at a port of 127.0.0.1, with a keep-alive time of 75 s where it has one."""
    bind = f"127.0.0.1:{port}"
    where = ["--host", "127.0.0.1", "--port", str(port)]
    cert, key = (str(path) for path in pair) if pair else ("", "")
    tls = ["--certfile", cert, "--keyfile", key] if pair else []
    match name:
        case "aeros":
            return [_tool("aeros"), "run", app, "-w", str(workers), "-b", bind, "--keep-alive", "75", *tls]
        case "uvicorn":
            tls = ["--ssl-certfile", cert, "--ssl-keyfile", key, "--http", "zttp", "--http2"] if pair else []
            where += ["--workers", str(workers)] if workers > 1 else []
            return [_tool("uvicorn"), "--timeout-keep-alive", "75", "--no-access-log", *where, *tls, app]
        case "granian":
            tls = ["--ssl-certificate", cert, "--ssl-keyfile", key] if pair else []
            return [_tool("granian"), "--interface", "asgi", "--workers", str(workers), *where, *tls, app]
        case _:
            return [_tool("hypercorn"), "--keep-alive", "75", "-b", bind, *tls, app]


def shown_version(name: str) -> str:
    return f"{name} {version(name)}"


class Running:
    """One server. pid: of the process that is signalled to reload or stop."""

    def __init__(self, name: str, port: int, process: subprocess.Popen[bytes], output: Path) -> None:
        self.name, self.port, self.output = name, port, output
        self.process = process
        self.address = ("127.0.0.1", port)

    @property
    def log(self) -> str:
        return self.output.read_text(errors="replace")


@contextmanager
def running(name: str, app: str, pair: tuple[Path, Path] | None = None, workers: int = 1) -> Iterator[Running]:
    """Start a server and wait until it accepts; end it, and what it started, afterwards."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="clients-") as folder:
        output = Path(folder, "output")
        environment = {**os.environ, "XDG_RUNTIME_DIR": folder, "PYTHONPATH": str(ROOT)}
        with output.open("wb") as sink:
            process = subprocess.Popen(
                command(name, app, port, pair, workers), cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
                stdout=sink, stderr=sink, start_new_session=True,
            )  # fmt: skip
        server = Running(name, port, process, output)
        try:
            eventually(lambda: _accepts(server), 30, f"{name} accepting")
            yield server
        finally:
            _end(process)


def _accepts(server: Running) -> bool:
    if server.process.poll() is not None:
        raise RuntimeError(f"{server.name} has ended: {server.log[-2000:]}")
    with socket.socket() as sock:
        return sock.connect_ex(server.address) == 0


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(15)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
