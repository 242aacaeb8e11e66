"""A log pipe that is full and stays full: the supervisor reaps, replaces, answers and stops all the same."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.helpers.conditions import eventually
from tests.helpers.http import get

FILLS_ITS_OUTPUT = """
import fcntl, os, sys
if os.environ.get("FULL"):
    pipe = int(os.environ["FULL"])
    os.dup2(pipe, 2)
    os.dup2(pipe, 1)
from aeros import WebServer
app = WebServer(__name__)

@app.get("/")
async def home():
    return {"pid": os.getpid()}

if __name__ == "__main__":
    app.start(sys.argv[1:])
"""


@pytest.mark.parametrize("log_format", ["text", pytest.param("json", marks=pytest.mark.slow)])
def test_a_full_pipe_stops_neither_supervisor_nor_workers(serve: Serve, tmp_path: Path, log_format: str) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writer, False)
    while True:
        try:
            os.write(writer, b"." * 1024)
        except BlockingIOError:
            break
    os.set_blocking(writer, True)
    socket_path = tmp_path / "s"
    server = serve(
        FILLS_ITS_OUTPUT, "-w", "2", "--bind", f"unix:{socket_path}", "--access-logfile", "-", "--log-format",
        log_format, env={"FULL": str(writer)}, pass_fds=[writer], bind=None,
    )  # fmt: skip
    try:
        eventually(server.control_path.exists, 30)
        eventually(lambda: len(server.ready_pids()) == 2, 30)
        address = str(socket_path)
        assert get(address).status == 200
        before = server.ready_pids()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: len(server.ready_pids()) == 2 and not server.ready_pids() & before, 15)
        for _ in range(200):  # 40 KB of access log, for nobody
            assert get(address).status == 200
        server.handle().reload(timeout=20)
        assert server.status().generation == 2
        # The reader comes back: what waited and what comes now is there, in whole lines.
        text = bytearray()
        os.set_blocking(reader, True)
        done = threading.Event()

        def read() -> None:
            while data := os.read(reader, 65536):
                text.extend(data)
            done.set()

        threading.Thread(target=read, daemon=True).start()
        server.handle().scale(1)
        eventually(lambda: b"reloaded: generation 2" in text and b"scaling from 2 to 1" in text, 10)
        assert b"SIGKILL" in text
        os.close(writer)
        writer = -1
        assert server.stop() == 0
        assert done.wait(5)
    finally:
        if writer >= 0:
            os.close(writer)


def test_a_full_pipe_does_not_hold_up_a_stop(serve: Serve, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, b"." * 4096)
    server = serve(
        FILLS_ITS_OUTPUT, "-w", "1", "--bind", f"unix:{tmp_path / 's'}",
        env={"FULL": str(writer)}, pass_fds=[writer], bind=None,
    )  # fmt: skip
    try:
        eventually(server.control_path.exists, 30)
        eventually(lambda: len(server.ready_pids()) == 1, 30)
        server.send_signal(signal.SIGUSR1)
        assert server.stop(deadline_s=10) == 0
    finally:
        os.close(writer)
        os.close(reader)
