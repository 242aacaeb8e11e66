#!/usr/bin/env python
"""CPU per request of the fast lane beside Hypercorn and uvicorn, one process each, the same Quart JSON route.

    python scripts/bench_lane.py [--rounds 5] [--seconds 3] [--only lane,uvicorn] [--route /]

Needs wrk on the path, and uvicorn and httptools beside the project's own dependencies. Rounds are interleaved, so
that a neighbour's load falls on all of them alike; compare the ratios, not the microseconds.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

APP = """
import sys
from quart import Quart, request
lean = sys.argv[1:2] == ["lean"] or __name__ == "lean_app"
if lean:
    from aeros.quart.lean import LeanQuart
    class WebServer(LeanQuart, Quart): pass
else:
    WebServer = Quart
app = WebServer(__name__)
@app.route("/")
async def home(): return {"response": "ok"}
@app.route("/text")
async def text(): return "ok"
@app.route("/user/<int:id>/x")
async def user(id): return {"id": id, "q": request.args.get("q")}
@app.post("/echo")
async def echo(): return await request.get_data()
"""

LANE = """
import asyncio, sys, uvloop
from hypercorn.config import Config
from aeros.quart.direct import direct_path
from aeros.worker.assembly import http1_factory, make_service
from aeros.worker.hypercorn.connection import hypercorn_protocol_factory
name, port, factory = sys.argv[1], int(sys.argv[2]), sys.argv[3]
app = __import__(name).app
if factory == "asgi":
    inner = app
    async def app(scope, receive, send): await inner(scope, receive, send)
async def main():
    loop = asyncio.get_running_loop()
    service = make_service(app, Config(), loop=loop, direct=direct_path)
    make = hypercorn_protocol_factory if factory == "hyper" else http1_factory
    server = await loop.create_server(make(service), "127.0.0.1", port, backlog=1000)
    await server.serve_forever()
uvloop.run(main())
"""


def commands(folder: Path, port: int) -> dict[str, list[str]]:
    python = sys.executable
    lane = str(folder / "lane_main.py")
    return {
        "hypercorn": [python, "-m", "hypercorn", "-k", "uvloop", "-w", "0", "-b", f"127.0.0.1:{port}", "plain_app:app"],
        "uvicorn": [python, "-m", "uvicorn", "--loop", "uvloop", "--http", "httptools", "--no-access-log",
                    "--log-level", "warning", "--port", str(port), "plain_app:app"],
        "lane": [python, lane, "lean_app", str(port), "http1"],
        "lane-quart": [python, lane, "plain_app", str(port), "http1"],
        "lane-asgi": [python, lane, "plain_app", str(port), "asgi"],
        "lane-hypercorn": [python, lane, "plain_app", str(port), "hyper"],
    }  # fmt: skip


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_for(port: int, deadline: float) -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def measure(port: int, pid: int, seconds: int, route: str, extra: list[str]) -> tuple[float, float]:
    """Return (CPU microseconds per request, requests per second)."""
    before = cpu_seconds(pid)
    output = subprocess.run(
        ["wrk", "-t1", "-c64", f"-d{seconds}s", *extra, f"http://127.0.0.1:{port}{route}"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    used = cpu_seconds(pid) - before
    if "Non-2xx" in output or "Socket errors" in output:
        print(output, file=sys.stderr)
    requests = int(re.search(r"(\d+) requests in", output)[1])  # type: ignore[index]
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1])  # type: ignore[index]
    return used / requests * 1e6, rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--only", default="hypercorn,uvicorn,lane")
    parser.add_argument("--route", default="/")
    parser.add_argument("--wrk", default="", help="more arguments for wrk")
    args = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed")
    folder = Path(os.environ.get("TMPDIR", "/tmp")) / f"bench-lane-{os.getpid()}"
    folder.mkdir()
    for name in ("plain_app", "lean_app"):
        (folder / f"{name}.py").write_text(APP)
    (folder / "lane_main.py").write_text(LANE)
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    servers: dict[str, tuple[int, subprocess.Popen[bytes]]] = {}
    results: dict[str, list[tuple[float, float]]] = {}
    try:
        for name in args.only.split(","):
            port = free_port()
            process = subprocess.Popen(commands(folder, port)[name], env=environment, cwd=folder)
            servers[name] = port, process
            wait_for(port, time.monotonic() + 15)
            measure(port, process.pid, 1, args.route, args.wrk.split())
        for _ in range(args.rounds):
            for name, (port, process) in servers.items():
                measured = measure(port, process.pid, args.seconds, args.route, args.wrk.split())
                results.setdefault(name, []).append(measured)
    finally:
        for _, process in servers.values():
            process.send_signal(signal.SIGKILL)
            process.wait()
        shutil.rmtree(folder)
    medians = {name: statistics.median(cpu for cpu, _ in rows) for name, rows in results.items()}
    print(
        f"{'':16}{'us/request':>12}{'min':>8}{'max':>8}{'req/s':>9}"
        + "".join(f"{'/' + n:>12}" for n in ("uvicorn", "hypercorn") if n in medians)
    )
    for name, rows in results.items():
        cpus = [cpu for cpu, _ in rows]
        ratios = "".join(f"{medians[name] / medians[n]:12.3f}" for n in ("uvicorn", "hypercorn") if n in medians)
        rate = statistics.median(rate for _, rate in rows)
        print(f"{name:16}{medians[name]:12.1f}{min(cpus):8.1f}{max(cpus):8.1f}{rate:9.0f}{ratios}")


if __name__ == "__main__":
    main()
