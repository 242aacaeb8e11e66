"""Only the program that a supervisor has run becomes its next generation or its successor, and only if it serves."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import aeros
from tests.apps import replace, source_of
from tests.conftest import Serve
from tests.helpers import proc
from tests.helpers.conditions import eventually
from tests.helpers.http import get
from tests.helpers.serverproc import ServerProcess

#: A server beside the app: it connects to its database first, and then starts.
HELPER = """\
import os, pathlib, socket, sys
from aeros import WebServer

if len(sys.argv) > 1:
    database = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    assert database.fileno() == 3
pathlib.Path("helper.new").write_text(str(os.getpid()))
os.replace("helper.new", "helper.pid")
app = WebServer("helper")

@app.get("/")
async def home():
    return {"version": "helper"}

if __name__ == "__main__":
    app.start("-w 1 -b 127.0.0.1:0")
"""
#: How a program starts it while it is imported.
STARTED_BY = {
    "os.system": "import os, sys\nos.system(sys.executable + ' helper.py &')\n",
    "Popen": "import subprocess, sys\nsubprocess.Popen([sys.executable, 'helper.py'], close_fds=False)\n",
    "its own descriptor 3": "import subprocess, sys\nsubprocess.Popen([sys.executable, 'helper.py', '{port}'])\n",
}
WAIT = (
    "import pathlib, time\nuntil = time.monotonic() + 30\n"
    "while not pathlib.Path('helper.pid').exists() and time.monotonic() < until:\n    time.sleep(0.02)\n"
)


class Database:
    """Takes connections and keeps what they send."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.connections: list[socket.socket] = []
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self.connections.append(self.listener.accept()[0])

    def assert_untouched(self) -> None:
        assert self.connections
        for connection in self.connections:
            with pytest.raises(BlockingIOError):  # neither a byte nor its end
                connection.recv(1, socket.MSG_DONTWAIT)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join(10)
        for each in (self.listener, *self.connections):
            each.close()


@pytest.fixture
def database() -> Iterator[Database]:
    with closing(Database()) as found:
        yield found


@pytest.mark.parametrize("how", list(STARTED_BY))
@pytest.mark.parametrize("verb", ["upgrade", "reload"])
def test_a_helper_of_the_new_program_is_a_server_of_its_own(
    serve: Serve, tmp_path: Path, database: Database, verb: str, how: str
) -> None:
    server = serve("full", "-w", "1").ready(1)
    (tmp_path / "helper.py").write_text(HELPER)
    replace(tmp_path / "app.py", STARTED_BY[how].replace("{port}", str(database.port)) + WAIT + source_of("full", "v2"))
    done = server.command(verb)
    assert done.returncode == 0, done.stderr
    helper = int((tmp_path / "helper.pid").read_text())
    if verb == "upgrade":
        assert server.popen.wait(20) == 0
        server.succeeded_by(int(re.findall(r"upgraded: pid (\d+)", done.stdout)[0]))
    assert server.pid != helper
    assert server.ready(1).get().json()["version"] == "v2"

    control = server.runtime_dir / "aeros" / f"{helper}.sock"
    with closing(eventually(lambda: _connected(control), 30, "the helper's own server")) as beside:
        assert get(_address(beside)).json()["version"] == "helper"
        if how == "its own descriptor 3":
            database.assert_untouched()
        # First the server: what is left of a program's child is the program's to reap.
        assert server.get().json()["version"] == "v2"
        server.send_signal(signal.SIGTERM)
        server.wait_gone()
        beside.stop()
    eventually(lambda: not proc.alive(helper), 20, "the end of the helper")


def _connected(control: Path) -> aeros.Server:
    try:
        found = aeros.connect(control)
        found.wait_ready(20)
    except aeros.AerosError as error:
        raise LookupError(str(error)) from error
    return found


def _address(server: aeros.Server) -> tuple[str, int]:
    host, port = server.addresses[0].removeprefix("http://").split(":")
    return host, int(port)


def test_a_program_that_closes_its_line_is_refused_in_a_sentence(serve: Serve, tmp_path: Path) -> None:
    server = serve("full", "-w", "1").ready(1)
    server.expect("reload refused", "upgrade refused", "aeros: this program was run by")
    replace(tmp_path / "app.py", "import os\nos.closerange(3, 256)\n" + source_of("full", "v2"))
    for verb in ("reload", "upgrade"):
        done = server.command(verb)
        assert done.returncode == 1
        assert "has closed its line to it, descriptor 3" in done.stderr
    assert server.get().json()["version"] == "v1"


#: Plays an heir by hand, message by message, on the line as it is inherited.
PLAYED = """\
import json, os, socket, struct, subprocess, sys, time
line = socket.socket(fileno=3)
HEIR = {"kind": "Heir", "pid": os.getpid(), "facts": {"aeros": "9.9", "python": "3", "prepare_s": 5}}

def say(message, **facts):
    body = message if isinstance(message, str) else json.dumps(message)
    line.sendall(struct.pack("!I", len(body)) + body.encode())

def hear():
    line.recvmsg(65536, 4096)
"""
TELLS = 'say({"kind": "Heir", "pid": os.getpid(), "facts": {"prepare_s": 0}}); hear()\n'
PREPARED = 'say({"kind": "Prepared", "facts": {}}); hear()\n'
WAITS = "time.sleep(600)\n"


def _heir(facts: str) -> str:
    return f"""say('{{"kind": "Heir", "pid": ' + str(os.getpid()) + ', "facts": {facts}}}')\n{WAITS}"""


#: What an heir does, and what is said of it.
LIARS = {
    "NaN": (_heir('{"prepare_s": NaN}'), "NaN is no number"),
    "infinity": (_heir('{"prepare_s": -Infinity}'), "-Infinity is no number"),
    "too long a number": (_heir('{"prepare_s": 1' + "0" * 400 + "}"), "out of range"),
    "too large a number": (_heir('{"prepare_s": [1e999]}'), "out of range"),
    "somebody else": ("say(dict(HEIR, pid=os.getppid()))\n" + WAITS, "it says that it is process"),
    "a helper speaks": (
        "subprocess.Popen([sys.executable, '-c', 'import os, sys; os.write(3, sys.stdin.buffer.read())'], "
        "stdin=subprocess.PIPE, close_fds=False).communicate(b'\\0\\0\\0\\2{}')\n" + WAITS,
        "spoke on the line of the new program",
    ),
    "nothing kept": (
        TELLS + PREPARED + 'say({"kind": "TookOver", "facts": {"kept": [], "pid_file": False}})\n' + WAITS,
        "serves at no address",
    ),
    "something kept that is not there": (
        TELLS + PREPARED + 'say({"kind": "TookOver", "facts": {"kept": [7], "pid_file": False}})\n' + WAITS,
        "kept is to name some of 1",
    ),
    "escapes": (
        TELLS + r"""say({"kind": "Unfit", "facts": {"reason": "a\x1b[2Jb\nc\u009bd", "traceback": "e\x1b[1mf\ng"}})""",
        r"a\x1b[2Jb\x0ac\x9bd",
    ),
}


@pytest.mark.parametrize("lie", list(LIARS))
def test_an_heir_that_says_what_cannot_be_is_refused(serve: Serve, tmp_path: Path, lie: str) -> None:
    # An heir that may have accepted connections is given as long as a worker to finish them.
    server = serve("full", "-w", "1", "--drain-timeout", "1", "--shutdown-timeout", "1").ready(1)
    server.expect("upgrade refused")
    text, reason = LIARS[lie]
    replace(tmp_path / "app.py", PLAYED + text)
    done = server.command("upgrade", "--timeout", "20")
    assert done.returncode == 1, done.stdout
    assert done.stderr.partition("): ")[2].startswith("upgrade refused, the old server goes on: ")
    assert reason in done.stderr.splitlines()[0]
    assert "\x1b" not in done.stderr + server.log
    assert "\x9b" not in done.stderr + server.log
    assert server.ready(1).get().json()["version"] == "v1"
    status = server.status()
    assert status.last_upgrade is not None
    assert not status.last_upgrade.ok
    assert server.stop() == 0


def test_an_heir_that_ends_as_soon_as_it_took_over_is_no_upgrade(serve: Serve, tmp_path: Path) -> None:
    server = serve("full", "-w", "1").ready(1)
    server.expect("ended as soon as it had taken over")
    (worker,) = server.ready_pids()
    over = 'say({"kind": "TookOver", "facts": {"kept": [0], "pid_file": False}})\nos._exit(0)\n'
    replace(tmp_path / "app.py", PLAYED + TELLS + PREPARED + over)
    os.kill(worker, signal.SIGSTOP)  # it cannot say at once that it no longer accepts
    try:
        done = server.command("upgrade")
    finally:
        os.kill(worker, signal.SIGCONT)
    assert done.returncode != 0
    assert "ended as soon as it had taken over; nobody serves now" in done.stderr
    assert "goes on" not in done.stderr
    assert server.wait_exit() == 1


def test_a_zygote_that_ends_is_missed_though_a_helper_holds_its_line(serve: Serve, tmp_path: Path) -> None:
    """What the program starts before it reaches start() has a copy of the line, so there is no end-of-file."""
    server = serve("full", "-w", "1").ready(1)
    server.expect("died; its spare takes over")
    holds = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], close_fds=False)"
    sleeper = f"import subprocess, sys\n{holds}\n"
    replace(tmp_path / "app.py", sleeper + source_of("full", "v2"))
    generation = json.loads(server.command("reload", "--json").stdout)["generation"]
    # Its spare stands by as well.
    zygotes = eventually(lambda: _two(zygotes_of(server)), 20, "a zygote and its spare")
    first = next(pid for pid in zygotes if os.getpgid(pid) == pid)
    os.kill(first, signal.SIGKILL)
    server.wait_log(rf"zygote gen={generation} pid={first} died; its spare takes over")
    for pid in server.family - {server.pid}:
        if "time.sleep(60)" in proc.command(pid):
            os.kill(pid, signal.SIGKILL)


def zygotes_of(server: ServerProcess) -> set[int]:
    return server.family - {server.pid} - server.ready_pids()


def _two(found: set[int]) -> list[int] | None:
    real = [pid for pid in found if "time.sleep(60)" not in proc.command(pid)]
    return real if len(real) == 2 else None
