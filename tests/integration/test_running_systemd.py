"""The units of deploy/systemd under a systemd that runs: what `systemctl` does and shows."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apps import replace
from tests.helpers.conditions import eventually
from tests.helpers.http import Answer, get
from tests.helpers.serverproc import REPOSITORY
from tests.helpers.systemd import Systemd, version
from tests.integration.test_systemd import UNITS, free_port

pytestmark = [pytest.mark.slow, pytest.mark.limit_s(240)]

PROGRAM = """
import asyncio, os, sys
from aeros import WebServer
app = WebServer(__name__)

@app.before_serving
async def prepare():
    await asyncio.sleep({startup_s})

@app.get("/")
async def home():
    return {{"version": "{version}"}}

if __name__ == "__main__":
    app.start(sys.argv[1:])
"""
#: What differs from the units as they are: the interpreter may be in a home that www-data may not enter, and tests are
#: in a hurry.
DROP_IN = """
[Service]
User=root
Environment=PYTHONPATH=/srv/aeros
WatchdogSec=2
TimeoutStartSec=10
ExecStart=
ExecStart=/srv/app/.venv/bin/python app.py -w 2
"""
OLD_DROP_IN = "Type=notify\nExecReload=/bin/kill -HUP $MAINPID\n"


class Unit:
    """aeros.service and its socket."""

    def __init__(self, systemd: Systemd, program: Path, port: int) -> None:
        self.systemd, self.program, self.port = systemd, program, port

    def deploy(self, version: str, startup_s: float = 0.0) -> None:
        replace(self.program, PROGRAM.format(version=version, startup_s=startup_s))

    def get(self, timeout_s: float = 30.0) -> Answer:
        return get(("127.0.0.1", self.port), "/", timeout_s)

    def show(self) -> dict[str, str]:
        return self.systemd.show("aeros.service")

    def aeros(self, *words: str) -> str:
        python = ("env", "PYTHONPATH=/srv/aeros", "XDG_RUNTIME_DIR=/run/aeros", "/srv/app/.venv/bin/python")
        done = self.systemd.inside(*python, "-m", "aeros", *words)
        return done.stdout + done.stderr


@pytest.fixture
def unit(tmp_path: Path) -> Iterator[Unit]:
    drop_in = DROP_IN + (OLD_DROP_IN if version() < 253 else "")
    app, port = tmp_path / "app", free_port()
    app.mkdir()
    systemd = Systemd(tmp_path / "systemd", {app: "app", Path(sys.prefix): "app/.venv", REPOSITORY: "aeros"})
    (app / ".venv").mkdir()
    for name in ("aeros.service", "aeros.socket"):
        (systemd.units / name).write_text((UNITS / name).read_text())
        (systemd.units / f"{name}.d").mkdir()
    (systemd.units / "aeros.service.d" / "test.conf").write_text(drop_in)
    listen = f"[Socket]\nListenStream=\nListenStream=127.0.0.1:{port}\n"
    (systemd.units / "aeros.socket.d" / "test.conf").write_text(listen)
    with systemd:
        found = Unit(systemd, app / "app.py", port)
        found.deploy("v1")
        try:
            yield found
        finally:
            print(systemd.ctl("status", "--no-pager", "aeros.service", "aeros.socket").stdout, systemd.log[-6000:])


def test_its_life(unit: Unit) -> None:
    systemd = unit.systemd
    assert systemd.ctl("start", "aeros.socket").returncode == 0
    assert unit.show()["ActiveState"] == "inactive", "nobody has asked yet"
    assert unit.get().json() == {"version": "v1"}, "the first client starts it"
    eventually(
        lambda: unit.show()["ActiveState"] == "active", 10
    )  # the pilot of two workers may answer before the other
    assert unit.show()["StatusText"] == "ready: 2 of 2 workers ready, generation 1"
    first = unit.show()["MainPID"]

    unit.deploy("v2")
    assert systemd.ctl("reload", "aeros").returncode == 0
    eventually(lambda: unit.get().json() == {"version": "v2"}, 20, "the new version")
    eventually(lambda: "generation 2" in unit.show()["StatusText"], 10, "the new generation in the status")
    assert unit.show()["ActiveState"] == "active"

    replace(unit.program, "this is no Python\n")
    assert systemd.ctl("reload", "aeros").returncode == 0, "the service is as well as before"
    text = eventually(lambda: "last reload failed" in unit.show()["StatusText"] and unit.show()["StatusText"], 20)
    assert "SyntaxError" in str(text), text
    assert unit.show()["ActiveState"] == "active"
    assert unit.get().json() == {"version": "v2"}

    unit.deploy("v3")
    said = unit.aeros("upgrade")
    assert " upgraded: pid " in said, said
    second = said.split()[2]
    assert unit.show()["MainPID"] == second != first
    eventually(lambda: unit.get().json() == {"version": "v3"}, 10)
    eventually(lambda: systemd.inside("test", "-d", f"/proc/{first}").returncode == 1, 20, "the end of the first")
    assert unit.show()["ActiveState"] == "active", "the end of the old main process is not the service's"
    assert unit.show()["NRestarts"] == "0"

    begun = time.monotonic()
    assert systemd.inside("kill", "-STOP", second).returncode == 0
    eventually(lambda: unit.show()["NRestarts"] == "1", 30, "the watchdog's restart")
    assert time.monotonic() - begun < 20
    assert unit.get().json() == {"version": "v3"}, "whoever came meanwhile waited in the socket"
    assert unit.show()["MainPID"] not in (first, second, "0")

    assert systemd.ctl("stop", "aeros.service").returncode == 0
    shown = unit.show()
    assert (shown["ActiveState"], shown["Result"], shown["ExecMainStatus"]) == ("inactive", "success", "0")
    assert systemd.inside("ls", "/run/aeros").returncode != 0, "its runtime directory goes with it"
    assert unit.get().json() == {"version": "v3"}, "systemd holds the socket, so the next client starts it again"


def test_a_start_that_takes_its_time_and_one_that_fails(unit: Unit) -> None:
    """TimeoutStartSec is 10 s: Aeros asks for more while the app starts."""
    unit.deploy("slow", startup_s=15)
    begun = time.monotonic()
    assert unit.systemd.ctl("start", "aeros.service").returncode == 0
    assert time.monotonic() - begun > 15
    assert unit.show()["ActiveState"] == "active"
    assert unit.get().json() == {"version": "slow"}
    assert unit.systemd.ctl("stop", "aeros.service", "aeros.socket").returncode == 0

    replace(unit.program, PROGRAM.format(version="v1", startup_s="1 / 0"))
    assert unit.systemd.ctl("start", "aeros.service").returncode == 1
    shown = unit.show()
    assert (shown["ActiveState"], shown["Result"], shown["ExecMainStatus"]) == ("failed", "exit-code", "3")
    assert shown["NRestarts"] == "0", "RestartPreventExitStatus: it would fail the same way again"


CURIOUS = """
import os, sys
from aeros import WebServer
app = WebServer(__name__)

def attempt(what):
    try:
        what()
        return "done"
    except OSError as error:
        return error.strerror

@app.get("/")
async def home():
    status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
    return {
        "rights": [status[name].strip() for name in ("CapBnd", "CapEff", "NoNewPrivs", "Seccomp")],
        "code": attempt(lambda: open(__file__, "a")),
        "etc": attempt(lambda: open("/etc/aeros-was-here", "w")),
        "tmp": attempt(lambda: open("/tmp/here", "w")),
        "run": attempt(lambda: open(os.environ["XDG_RUNTIME_DIR"] + "/here", "w")),
        "user": attempt(lambda: os.setuid(1)),
        "priority": attempt(lambda: os.setpriority(os.PRIO_PROCESS, 0, -5)),
        "namespace": attempt(lambda: os.unshare(os.CLONE_NEWNS)) if hasattr(os, "unshare") else "refused",
    }

if __name__ == "__main__":
    app.start(sys.argv[1:])
"""


def test_the_app_has_few_rights(unit: Unit) -> None:
    replace(unit.program, CURIOUS)
    assert unit.systemd.ctl("start", "aeros.service").returncode == 0
    found = unit.get().json()
    # The mode of seccomp is 2: a filter. The user is root here, and it makes no difference.
    assert found["rights"] == ["0000000000000000", "0000000000000000", "1", "2"]
    assert found["code"] == found["etc"] == "Read-only file system"
    assert found["tmp"] == found["run"] == "done"
    assert found["user"] == found["priority"] == "Operation not permitted"
    assert found["namespace"] != "done"
    assert unit.systemd.ctl("reload", "aeros").returncode == 0
    eventually(lambda: "generation 2" in unit.show()["StatusText"], 20, "a reload with these rights")
