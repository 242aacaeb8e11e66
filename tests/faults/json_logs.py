"""With --log-format json every line is an object with its fields, whatever happens; see scripts/json_logs."""

from __future__ import annotations

import argparse
import collections
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.helpers.conditions import eventually
from tests.helpers.http import Connection, ExchangeError
from tests.helpers.serverproc import ServerProcess

APP = r"""
import ctypes, logging, sys, threading, traceback, warnings
from aeros import WebServer

print("printed at import")
warnings.warn("warned at import")
app = WebServer(__name__)
log = logging.getLogger("shop")


@app.before_serving
async def begin():
    log.info("begins")


@app.after_serving
async def end():
    print("ends", file=sys.stderr)


@app.get("/item/<int:number>")
async def item(number):
    log.info("sold %d", number)
    return {"number": number}


@app.get("/stream")
async def stream():
    async def parts():
        yield b"a" * 100
        yield b"b" * 100
    return parts()


@app.get("/raises")
async def raises():
    raise ValueError("two\nlines \ud800 \x1b[31m \u2028 \x00")


@app.get("/odd")
async def odd():
    log.warning("lone %s, %s", "\udfff", "a\nb\r\x7f\x9b")
    log.warning("wrong %d", "arguments")
    log.error("with a stack", stack_info=True)
    print("printed", {"a": 1})
    print("no end", end="")
    warnings.warn("warned")
    try:
        1 / 0
    except ZeroDivisionError:
        traceback.print_exc()
    thread = threading.Thread(target=int, args=("no number",))
    thread.start()
    thread.join()
    return "odd"


@app.get("/crash")
async def crash():
    ctypes.string_at(0)


if __name__ == "__main__":
    app.start(sys.argv[1:])
"""
COMMAND = [
    *(sys.executable, "-m", "aeros", "run", "app:app", "-w", "2", "-b", "127.0.0.1:0"),
    *("--log-format", "json", "--access-logfile", "-", "--request-id"),
]
PATHS = ["/item/7?a=%ff%0a", "/item/8", "/stream", "/nowhere", "/raises", "/item/9", "/odd"]
ACCESS = {
    *("time", "level", "logger", "message", "method", "path", "route", "query", "status", "duration_ms", "bytes"),
    *("client", "request_id", "worker", "generation", "pid"),
}
OTHER = {"time", "level", "logger", "pid", "message"}
LEVELS = {"debug", "info", "warning", "error", "critical"}


def wrong(line: bytes) -> str:
    """Return what is wrong with the line, "" for nothing."""
    try:
        record = json.loads(line)
    except ValueError as error:
        return f"no JSON: {error}"
    if not isinstance(record, dict):
        return "no object"
    wanted = ACCESS if record.get("logger") == "hypercorn.access" else OTHER
    if lacking := wanted - record.keys():
        return f"lacks {', '.join(sorted(lacking))}"
    if record["level"] not in LEVELS:
        return f"level {record['level']}"
    if not line.isascii() or any(byte < 0x20 for byte in line):
        return "no plain ASCII"
    return "Traceback outside of exception" if "Traceback" in record["message"] else ""


def ask(server: ServerProcess, over: threading.Event) -> None:
    while not over.is_set():
        try:
            with Connection(server.address) as connection:
                for path in PATHS:
                    connection.request("GET", path)
        except (ExchangeError, OSError):
            time.sleep(0.02)  # a worker was killed under it


def trouble(server: ServerProcess) -> Iterator[None]:
    """Do one evil after the other, for ever."""
    while True:
        yield os.kill(min(server.ready_pids()), signal.SIGKILL)
        server.ready(2)
        server.handle().reload(timeout=60)
        yield
        try:
            server.get("/crash")
        except (ExchangeError, OSError):
            yield
        server.ready(2)
        os.kill(max(server.ready_pids()), signal.SIGABRT)
        yield server.send_signal(signal.SIGUSR1)
        server.handle().scale(3)
        server.handle().scale(2)
        yield


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=10_000, help="so many at least (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aeros-test-") as folder:
        program = Path(folder) / "app.py"
        program.write_text(APP)
        server = ServerProcess(COMMAND, Path(folder))
        over = threading.Event()
        clients = [threading.Thread(target=ask, args=(server, over)) for _ in range(2)]
        try:
            server.ready(2)
            for client in clients:
                client.start()
            evils = trouble(server)
            while (server.log + server.stdout).count("\n") < options.lines:
                next(evils)
                time.sleep(0.3)
            server.succeeded_by(server.handle().upgrade(timeout=60).pid)
            eventually(server.ready_pids, 30)
            time.sleep(1.0)
        finally:
            over.set()
            for client in clients:
                client.join()
            server.stop()
    return report([*server.log.encode().splitlines(), *server.stdout.encode().splitlines()])


def report(lines: list[bytes]) -> int:
    faults = [(why, line) for line in lines if (why := wrong(line))]
    loggers = collections.Counter(json.loads(line).get("logger") for line in lines if not wrong(line))
    print(f"{len(lines)} lines, {len(faults)} wrong; by logger: {dict(loggers)}")
    for why, line in faults[:20]:
        print(f"{why}: {line[:300]!r}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
