"""systemd: sockets passed by the real systemd-socket-activate, states told to a notify socket, units it accepts."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from tests.apps import replace
from tests.conftest import Serve
from tests.helpers import proc
from tests.helpers.conditions import eventually, stays
from tests.helpers.http import get
from tests.helpers.notifysocket import NotifySocket
from tests.helpers.serverproc import EVERY_SERVER, REPOSITORY, ServerProcess

UNITS = REPOSITORY / "deploy" / "systemd"


def tool(name: str) -> str:
    """The program of Debian's package systemd; in CI it must be there."""
    found = shutil.which(name)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is missing: apt-get install systemd")
        pytest.skip(f"{name} is missing: apt-get install systemd")
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


PROGRAM = """
import os, sys
from aeros import WebServer
app = WebServer(__name__)
@app.get("/")
async def home():
    names = [name for name in os.environ if name.startswith(("LISTEN_", "NOTIFY_", "WATCHDOG_"))]
    return {"version": "v1", "variables": names}
if __name__ == "__main__":
    app.start(sys.argv[1:])
"""


def activated(serve: Serve, tmp_path: Path, *args: str, listen: list[str], names: str = "") -> ServerProcess:
    """The app as systemd-socket-activate starts it when the first client comes."""
    (tmp_path / "app.py").write_text(PROGRAM)
    tools = [tool("systemd-socket-activate"), *(f"--listen={where}" for where in listen)]
    tools += [f"--fdname={names}"] if names else []
    # Of its environment it passes on what it is told to.
    passed = ("PYTHONPATH", "XDG_RUNTIME_DIR", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "SPT_NOENV", proc.MARKER)
    tools += [f"--setenv={name}" for name in (*passed, *EVERY_SERVER)]
    return serve(argv=[*tools, sys.executable, str(tmp_path / "app.py"), "-w", "1", *args])


def test_sockets_are_taken_where_no_bind_is_given(serve: Serve, tmp_path: Path) -> None:
    port, path = free_port(), f"/tmp/aeros-{uuid.uuid4().hex[:12]}.sock"
    server = activated(serve, tmp_path, listen=[f"127.0.0.1:{port}", path])
    try:
        server.wait_log("Listening on", count=2)
        # Asked before there is a server: the question waits in the socket.
        assert get(("127.0.0.1", port), timeout_s=30).json() == {"version": "v1", "variables": []}
        server.ready(1)
        assert get(path).status == 200
        assert set(server.status().addresses) == {f"http://127.0.0.1:{port}", f"unix:{path}"}
        replace(tmp_path / "app.py", PROGRAM.replace("v1", "v2"))
        server.handle().reload()
        assert get(("127.0.0.1", port)).json() == {"version": "v2", "variables": []}
        assert server.stop() == 0
        assert Path(path).exists(), "a socket file that systemd made was removed"
    finally:
        Path(path).unlink(missing_ok=True)


def test_sockets_are_taken_by_name(serve: Serve, tmp_path: Path) -> None:
    ports = [free_port(), free_port()]
    listen = [f"127.0.0.1:{port}" for port in ports]
    server = activated(serve, tmp_path, "-b", "fd://two", listen=listen, names="one:two")
    server.wait_log("Listening on", count=2)
    assert get(("127.0.0.1", ports[1]), timeout_s=30).status == 200
    assert server.ready(1).status().addresses == (f"http://127.0.0.1:{ports[1]}",)
    assert server.stop() == 0


def test_a_name_that_was_not_passed_is_refused(serve: Serve, tmp_path: Path) -> None:
    port = free_port()
    server = activated(serve, tmp_path, "-b", "fd://other", listen=[f"127.0.0.1:{port}"], names="web")
    server.wait_log("Listening on")
    with socket.create_connection(("127.0.0.1", port)):
        assert server.wait_exit() == 4
    assert "systemd passed no socket named other to this process (it passed web)" in server.log


@pytest.mark.parametrize("abstract", [False, True])
def test_states_are_told(serve: Serve, tmp_path: Path, abstract: bool) -> None:
    """READY, a good reload, a refused one, STOPPING: each with its text, and no variable left for the workers."""
    name = uuid.uuid4().hex[:12]
    with NotifySocket(f"@aeros-{name}" if abstract else f"/tmp/aeros-{name}.notify") as systemd:
        try:
            told = {"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "1000000"}
            server = serve(PROGRAM, "-w", "2", env=told).ready(2)
            systemd.wait("READY", "1")
            assert server.get().json()["variables"] == []
            assert "2 of 2 workers ready" in systemd.wait("STATUS")["STATUS"]
            assert systemd.with_("EXTEND_TIMEOUT_USEC")
            before = clock_usec()
            server.send_signal(signal.SIGHUP)
            systemd.wait("READY", "1", count=2)
            reloading = systemd.wait("RELOADING", "1")
            assert before <= int(reloading["MONOTONIC_USEC"]) <= clock_usec()
            assert "generation 2; reloaded at" in systemd.with_("READY")[-1]["STATUS"]
            server.expect("reload refused", "Traceback", "RuntimeError: not today")
            replace(tmp_path / "app.py", "raise RuntimeError('not today')\n")
            server.send_signal(signal.SIGHUP)
            systemd.wait("READY", "1", count=3)
            assert "last reload failed: " in systemd.with_("READY")[-1]["STATUS"]
            assert "not today" in systemd.with_("READY")[-1]["STATUS"]
            systemd.wait("WATCHDOG", "1", count=3)
            assert server.stop() == 0
            systemd.wait("STOPPING", "1")
            assert systemd.order() == ["READY", "RELOADING", "READY", "RELOADING", "READY", "STOPPING"]
        finally:
            Path(systemd.address).unlink(missing_ok=True)


def test_a_supervisor_that_stands_still_feeds_no_watchdog(serve: Serve) -> None:
    path = f"/tmp/aeros-{uuid.uuid4().hex[:12]}.notify"
    with NotifySocket(path) as systemd:
        try:
            server = serve(PROGRAM, "-w", "1", env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "400000"}).ready(1)
            systemd.wait("WATCHDOG", "1", count=5)
            server.send_signal(signal.SIGSTOP)
            eventually(lambda: proc.state(server.pid) == "T", 5)
            eventually(lambda: len(systemd.messages) == settled(systemd), 5)
            fed = len(systemd.with_("WATCHDOG"))
            stays(lambda: len(systemd.with_("WATCHDOG")) == fed, 1.0, "no feeding while stopped")
            server.send_signal(signal.SIGCONT)
            systemd.wait("WATCHDOG", "1", count=fed + 2)
        finally:
            Path(path).unlink(missing_ok=True)


def settled(systemd: NotifySocket) -> int:
    """How many messages there are when none has come for 0.2 s."""
    count = len(systemd.messages)
    try:
        eventually(lambda: len(systemd.messages) > count, 0.2)
    except AssertionError:
        return count
    return -1


def test_a_missing_notify_socket_costs_one_line(serve: Serve) -> None:
    server = serve(PROGRAM, "-w", "1", env={"NOTIFY_SOCKET": "/nonexistent/notify", "WATCHDOG_USEC": "200000"}).ready(1)
    server.handle().reload()
    assert server.stop() == 0
    assert server.log.count("/nonexistent/notify") == 1


def clock_usec() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


@pytest.mark.parametrize("unit", sorted(path.name for path in UNITS.iterdir()))
def test_units_are_accepted(tmp_path: Path, unit: str) -> None:
    """As they stand, but for the program, which is not installed here."""
    analyze = tool("systemd-analyze")
    version = int(subprocess.run([analyze, "--version"], capture_output=True, text=True, check=True).stdout.split()[1])
    for path in UNITS.iterdir():
        text = re.sub(r"/srv/\S+/python", sys.executable, path.read_text())
        if version < 253:
            text = text.replace("Type=notify-reload", "Type=notify\nExecReload=/bin/kill -HUP $MAINPID")
        (tmp_path / path.name).write_text(text)
    chosen = str(tmp_path / unit.replace("@.", "@shop."))
    (tmp_path / "aeros@shop.service").write_text((tmp_path / "aeros@.service").read_text())
    done = subprocess.run([analyze, "verify", "--man=no", chosen], capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if "aeros" in line]
    assert done.returncode == 0 and not ours, done.stderr
