"""Workers and zygotes turned against their own family: what they say and write ends and deceives nobody else."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.helpers.conditions import eventually
from tests.helpers.everybody import interpreter
from tests.helpers.serverproc import ServerProcess
from tests.integration.test_run_as import ROOT_ONLY

MEMORY = '''
import fcntl, mmap, os, random, sys
from aeros import WebServer

app = WebServer(__name__)

def shared():
    """Descriptors of the family's memory, by number."""
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if "memfd:aeros" in target:
            yield int(name), target

def tried(call, *args):
    try:
        call(*args)
    except (OSError, ValueError) as error:
        return type(error).__name__
    return "done"

@app.get("/cut")
def cut():
    found = {}
    for fd, name in shared():
        again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)  # the same user may, and so has one that writes
        for way in (fd, again):
            found[f"{name} {way}"] = [tried(os.ftruncate, way, size) for size in (0, 1 << 40)]
        os.close(again)
    return found

@app.get("/board")
def board():
    found = []
    for fd, name in shared():
        if "aeros-scoreboard" in name:
            again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
            found.append(tried(mmap.mmap, again, 4096))
            found.append(tried(os.pwrite, again, b"{}", 4096))
            os.close(again)
    return {"found": found}

@app.get("/scribble/<int:seed>")
def scribble(seed):
    """Write all over the cells, in words that mean most."""
    chance = random.Random(seed)
    for fd, name in shared():
        if "aeros-cells" in name:
            cells = mmap.mmap(fd, os.fstat(fd).st_size)
            words = memoryview(cells).cast("Q")
            odd = [0, 1, 2**64 - 1, 2**63, 0x7FF8 << 48, 0x7FF0 << 48, 0xFFF0 << 48, 0x000D0A6D31335B1B]
            for cell in range(8):
                for word in range(cell * 36864 // 8, (cell + 1) * 36864 // 8):
                    words[word] = chance.choice(odd) if seed else 0
    return {"pid": os.getpid()}

@app.get("/who")
def who():
    return {"pid": os.getpid()}

if __name__ == "__main__":
    app.start(sys.argv[1:])
'''


def test_shared_memory_cannot_be_cut_short(serve: Serve) -> None:
    server = serve(MEMORY, "-w", "2").ready(2)
    found = json.loads(server.get("/cut").body)
    assert any("aeros-scoreboard" in name for name in found)
    assert any("aeros-cells" in name for name in found)
    # The worker's own file alone may grow.
    assert {tries[0] for tries in found.values()} <= {"PermissionError", "OSError"}, found
    assert {tries[1] for name, tries in found.items() if "aeros-worker" not in name} <= {"PermissionError", "OSError"}
    assert any("aeros-worker" in name for name in found)
    assert server.status().ready_workers == 2
    assert server.stop() == 0


def test_what_the_server_says_of_itself_cannot_be_forged(serve: Serve) -> None:
    server = serve(MEMORY, "-w", "2").ready(2)
    found = json.loads(server.get("/board").body)["found"]
    assert found and set(found) <= {"PermissionError", "OSError"}, found
    # And so in a generation that got the memory by descriptor, not by inheritance.
    server.send_signal(signal.SIGHUP)
    server.settled(2)
    found = json.loads(server.get("/board").body)["found"]
    assert found and set(found) <= {"PermissionError", "OSError"}, found
    assert server.stop() == 0


def test_a_worker_that_scribbles_over_all_figures_harms_nobody(serve: Serve) -> None:
    server = serve(MEMORY, "-w", "3", "--worker-timeout", "2s", "--max-requests", "1000", "--loop-warn", "off").ready(3)
    before = server.ready_pids()
    until = time.monotonic() + 6.0  # longer than three timeouts of a worker
    seed = 0
    while time.monotonic() < until:
        assert server.get(f"/scribble/{seed}").status == 200
        for command in ("status", "requests", "top"):
            argument = ["--once"] if command == "top" else []
            done = server.command(command, str(server.pid), *argument)
            assert "Traceback" not in done.stderr, done.stderr
        status = server.status()
        json.dumps(status.to_dict(), allow_nan=False)
        assert status.ready_workers == 3
        seed += 1
    assert server.ready_pids() == before, "nobody was replaced"
    assert {json.loads(server.get("/who").body)["pid"] for _ in range(30)} <= before
    server.send_signal(signal.SIGHUP)
    eventually(lambda: server.status().generation == 2, 20)
    assert server.stop() == 0


LYING = '''
import os, socket, sys
from aeros import WebServer
from aeros.core.ipc import messages
from aeros.supervisor.zygotes import zygote as real

app = WebServer(__name__)
lie = os.environ.get("LIE", "")
canary = int(os.environ["CANARY"])
send = real.Channel.send

def lying(channel, message, fds=()):
    """What the zygote says, but for what it lies about, from the second worker on."""
    if not isinstance(message, messages.Forked) or message.worker < 2 or os.path.exists("lied"):
        return send(channel, message, fds)
    open("lied", "w").close()
    another = os.open(os.devnull, os.O_RDONLY)
    match lie:
        case "pidfd of another":
            return send(channel, message, [os.pidfd_open(canary)])
        case "another's pid":
            return send(channel, messages.Forked(message.worker, canary, 1), [os.pidfd_open(canary)])
        case "another's pid alone":
            return send(channel, messages.Forked(message.worker, canary, 0))
        case "nobody's pid":
            return send(channel, messages.Forked(message.worker, 4194000, 0))
        case "no pidfd":
            return send(channel, message, [another])
        case "its own pid":
            return send(channel, messages.Forked(message.worker, os.getpid(), 0))
        case "another worker":
            return send(channel, messages.Forked(message.worker + 7, message.pid, 1), fds)
        case "the end of one that lives":
            send(channel, message, fds)
            return send(channel, messages.Exited(message.pid, 0))
        case "the end of the canary":
            send(channel, message, fds)
            return send(channel, messages.Exited(canary, 0))
        case "a copy that is another":
            send(channel, message, fds)
            return send(channel, messages.ZygoteForked(canary))
        case "a descriptor too many":
            send(channel, message, fds)
            frame = messages.encode(messages.Logged("hello"))
            beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, another.to_bytes(4, sys.byteorder))]
            return channel._sock.sendmsg([len(frame).to_bytes(4, "big") + frame], beside)
    return send(channel, message, fds)

@app.before_fork
def turn(info):
    real.Channel.send = lying

@app.after_fork
def back(info):
    real.Channel.send = send

@app.get("/")
async def home():
    return "hello"

if __name__ == "__main__":
    app.start(sys.argv[1:])
'''


def as_nobody(serve: Serve, folder: Path, *args: str, program: str, env: dict[str, str]) -> ServerProcess:
    """A server that root has started, and whose app is nobody's."""
    app = folder / "app.py"
    app.write_text(program)
    app.chmod(0o644)
    python, found = interpreter()
    argv = [python, str(app), "-b", "127.0.0.1:0", "--run-as", "nobody", *args]
    return serve(argv=["sh", "-c", 'cd "$0" && exec "$@"', str(folder), *argv], env={**found, **env})


@pytest.fixture
def canary() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is nobody's of the family."""
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize(
    "lie",
    [
        "pidfd of another",
        "another's pid",
        "another's pid alone",
        "nobody's pid",
        "no pidfd",
        "its own pid",
        "another worker",
        "the end of one that lives",
        "a copy that is another",
        "a descriptor too many",
    ],
)
@ROOT_ONLY
@pytest.mark.limit_s(120)
def test_a_zygote_that_lies_is_ended(
    serve: Serve, open_folder: Path, canary: subprocess.Popen[bytes], lie: str
) -> None:
    env = {"LIE": lie, "CANARY": str(canary.pid)}
    open_folder.chmod(0o777)
    server = as_nobody(serve, open_folder, "-w", "1", program=LYING, env=env).ready(1)
    server.complete(1)
    first = server.ready_pids()
    server.expect("it is ended", "has not forked", "it is killed", "died", "reload")
    server.command("scale", "2", "--server", str(server.pid))
    server.wait_log("it is ended|it is killed", 30)
    eventually(lambda: len(server.ready_pids()) == 2, 60, "another zygote forks")
    assert first <= server.ready_pids(), "the worker that was there goes on"
    assert server.get().status == 200
    assert canary.poll() is None
    assert server.stop() == 0
    assert canary.poll() is None


GREEDY = """
import os, sys
from aeros import WebServer
from aeros.supervisor.model.policy import Policy

app = WebServer(__name__)

if os.geteuid() != 0:
    real = Policy.to_message
    wanted = eval(os.environ["WANTED"])
    Policy.to_message = lambda self: real(self) | wanted

@app.get("/")
async def home():
    return "hello"

if __name__ == "__main__":
    app.start(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("wanted", "refused"),
    [
        ({"log_files": ["{root}/made-by-root"]}, "other log files: with --run-as"),
        ({"tls_files": {"pairs": [["", "{root}/secret", "{root}/secret"]], "ca_certs": None}}, "other TLS files"),
        ({"debug_faults": True, "use_reloader": True}, "other --reload, --debug-faults: with --run-as"),
        ({"drain_timeout_s": 1e300}, "out of range"),
        ({"drain_timeout_s": 1e9}, "drain_timeout_s cannot be 1000000000.0"),
        ({"workers": -1}, "workers cannot be -1"),
        ({"workers": 10**6}, "workers cannot be 1000000"),
        ({"worker_timeout_s": float("nan")}, "NaN is no number"),
    ],
)
@ROOT_ONLY
@pytest.mark.limit_s(120)
def test_a_reloaded_program_of_another_user_changes_nothing_that_is_roots(
    serve: Serve, open_folder: Path, tmp_path: Path, wanted: dict[str, object], refused: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("root's alone")
    secret.chmod(0o600)
    text = repr(wanted).replace("{root}", str(tmp_path)).replace("nan", "float('nan')")
    server = as_nobody(serve, open_folder, "-w", "1", program=GREEDY, env={"WANTED": text}).ready(1)
    server.expect(re.escape(refused), "reload refused", "it is ended")
    done = server.command("reload", str(server.pid))
    assert done.returncode != 0
    server.wait_log(re.escape(refused), 20)
    server.send_signal(signal.SIGUSR1)
    server.wait_log("log files reopened")
    assert not (tmp_path / "made-by-root").exists()
    assert (secret.stat().st_uid, secret.stat().st_mode & 0o777) == (0, 0o600)
    assert server.status().generation == 1
    assert server.get().status == 200
    assert server.stop() == 0


@ROOT_ONLY
def test_figures_of_a_reloaded_program_are_taken(serve: Serve, open_folder: Path) -> None:
    env = {"WANTED": repr({"workers": 2, "drain_timeout_s": 3.5})}
    server = as_nobody(serve, open_folder, "-w", "1", program=GREEDY, env=env).ready(1)
    server.send_signal(signal.SIGHUP)
    server.settled(2)
    eventually(lambda: len(server.ready_pids()) == 2, 20)
    assert server.stop() == 0


FORGING = """
import json, os, struct, sys
from aeros import WebServer
from aeros.worker import main

app = WebServer(__name__)
guard = main.guard

def guarded(channel_fd, seconds):
    global line
    line = channel_fd
    guard(channel_fd, seconds)

main.guard = guarded

@app.get("/say/<kind>")
async def say(kind):
    text = "x\\r\\nFORGED [critical] aeros: all is lost\\x1b[31m\\u2028\\x9b31m"
    said = {
        "WantsRetirement": {"reason": text},
        "Failed": {"stage": text, "reason": text, "traceback": text, "logged": False},
        "Logged": {"text": text},
        text: {},
    }[text if kind == "unknown" else kind]
    body = json.dumps({"kind": text if kind == "unknown" else kind, **said}).encode()
    os.write(line, struct.pack("!I", len(body)) + body)
    if kind == "Failed":
        os._exit(1)
    return "said"

if __name__ == "__main__":
    app.start(sys.argv[1:])
"""


@pytest.mark.parametrize("kind", ["WantsRetirement", "Failed", "Logged", "unknown"])
def test_what_a_worker_says_makes_no_line_of_its_own(serve: Serve, kind: str) -> None:
    server = serve(FORGING, "-w", "1").ready(1)
    before = server.ready_pids()
    server.expect("all is lost", "it sent garbage", "died")
    with contextlib.suppress(Exception):  # it may be gone before it has answered
        server.get(f"/say/{kind}")
    if kind != "Logged":
        eventually(lambda: server.ready_pids() and not before & server.ready_pids(), 30, "another worker")
    told = server.log + server.command("logs", str(server.pid)).stdout
    assert "\x1b" not in told
    assert "\x9b" not in told
    assert "FORGED" in told
    assert not [line for line in told.splitlines() if line.startswith("FORGED")]
    assert server.stop() == 0
