"""A hostile zygote and a hostile worker in a real server that root has started with --run-as nobody.

The app hands its ends of the lines to the supervisor, and the memory it shares, to the fuzzer, which says and writes
there what it likes, with the rights of whoever holds them. Nothing but the family itself may suffer.
"""

from __future__ import annotations

import contextlib
import json
import math
import mmap
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from aeros.core.ipc import messages
from aeros.core.ipc.messages import Message, encode
from aeros.core.record import field_types
from tests.helpers import proc
from tests.helpers.conditions import eventually
from tests.helpers.everybody import interpreter
from tests.helpers.serverproc import ServerProcess

#: So many cases are one server's; what is broken in it then is replaced.
CASES_EACH = 8
#: What the supervisor may need of a processor when nobody says anything.
_MOST_CPU = 0.5
_KINDS = [kind for kind in vars(messages).values() if isinstance(kind, type) and issubclass(kind, Message)]

APP = '''
import json, os, socket, sys
from aeros import WebServer
from aeros.supervisor.zygotes import zygote
from aeros.worker import main

app = WebServer(__name__)

def give(role, **more):
    """Hand descriptors over to the fuzzer."""
    names = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if "memfd:aeros" in target:
            names[target.split(":")[1].split()[0]] = int(name)
    names |= more
    with socket.socket(socket.AF_UNIX) as line:
        try:
            line.connect("fuzzer")
        except OSError:
            return
        socket.send_fds(line, [json.dumps([role, os.getpid(), list(names)]).encode()], list(names.values()))

prepare, guard = zygote.Zygote._prepare, main.guard

def prepared(self):
    load = prepare(self)
    give("zygote", channel=self.channel.fileno())
    return load

def guarded(channel_fd, seconds):
    guard(channel_fd, seconds)
    give("worker", channel=channel_fd)

zygote.Zygote._prepare, main.guard = prepared, guarded

@app.get("/")
async def home():
    return "hello"

if __name__ == "__main__":
    app.start(sys.argv[1:])
'''


class Puppet:
    """What one process of the family has handed over."""

    def __init__(self, role: str, pid: int, fds: dict[str, int]) -> None:
        self.role, self.pid, self.fds = role, pid, fds
        self.line = socket.socket(fileno=fds.pop("channel"))
        self.line.setblocking(False)

    def say(self, data: bytes, fds: list[int]) -> None:
        beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))] if fds else []
        with contextlib.suppress(OSError):
            self.line.sendmsg([data], beside)

    def close(self) -> None:
        self.line.close()
        for fd in self.fds.values():
            os.close(fd)


class Hostile:
    """One server, its puppets, and the canaries that stand for everybody else."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="aeros-fuzz-"))
        self.folder.chmod(0o755)
        self.private = Path(tempfile.mkdtemp(prefix="aeros-fuzz-root-"))
        (self.private / "secret").write_text("root's")
        (self.private / "secret").chmod(0o600)
        self.before = self.files()
        self.canaries = [
            subprocess.Popen(["sleep", "3600"], user=user, start_new_session=True) for user in ("root", "nobody")
        ]
        self.puppets: list[Puppet] = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.folder / "fuzzer"))
        (self.folder / "fuzzer").chmod(0o777)
        self.listener.listen(64)
        self.listener.setblocking(False)
        (self.folder / "app.py").write_text(APP)
        python, environment = interpreter()
        argv = [
            python,
            "app.py",
            "-b",
            "127.0.0.1:0",
            "-w",
            "2",
            "--run-as",
            "nobody",
            "--access-logfile",
            "access.log",
        ]
        argv += ["--drain-timeout", "1", "--shutdown-timeout", "1", "--boot-timeout", "10", "--worker-timeout", "5"]
        self.server = ServerProcess(argv, self.folder, env=environment)
        self.server.expect(".")
        self.server.ready(2)

    def files(self) -> list[tuple[str, int, int, int]]:
        """What there is that is root's alone."""
        found = []
        for path in [self.private, *self.private.rglob("*")]:
            facts = path.lstat()
            found.append((str(path), facts.st_uid, facts.st_mode, facts.st_mtime_ns))
        return found

    def gather(self) -> None:
        """Take what the family has handed over; forget those that have ended, who would seem to live on."""
        for puppet in [one for one in self.puppets if not proc.alive(one.pid)]:
            puppet.close()
            self.puppets.remove(puppet)
        while True:
            try:
                line, _ = self.listener.accept()
            except BlockingIOError:
                return
            with line:
                line.settimeout(5)
                data, fds, _, _ = socket.recv_fds(line, 65536, 64)
            role, pid, names = json.loads(data)
            self.puppets.append(Puppet(role, pid, dict(zip(names, fds, strict=True))))

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.server.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def check(self) -> None:
        """Nobody but the family has suffered, and the supervisor does its work."""
        server = self.server
        assert server.running, f"the supervisor has ended:\n{server.log[-4000:]}"
        assert all(canary.poll() is None for canary in self.canaries), "a process outside the family was signalled"
        assert self.files() == self.before, "a file of root's was touched"
        assert "Exception in callback" not in server.log, server.log[-4000:]
        assert "next attempt in a second" not in server.log, server.log[-4000:]
        server.status()
        before, at = self.cpu_s(), time.monotonic()
        time.sleep(0.2)
        used = (self.cpu_s() - before) / (time.monotonic() - at)
        if used > _MOST_CPU:  # it may have had something to do just then
            before, at = self.cpu_s(), time.monotonic()
            time.sleep(2.0)
            used = (self.cpu_s() - before) / (time.monotonic() - at)
        assert used <= _MOST_CPU, f"the supervisor uses {used:.2f} of a processor:\n{server.log[-4000:]}"

    def end(self, number: int) -> None:
        """It stops when told."""
        try:
            for puppet in self.puppets:
                puppet.close()
            self.puppets.clear()
            self.server.stop(number, 60)
            self.server.family_gone(15)
            self.check_after()
        finally:
            self.server.close()
            for canary in self.canaries:
                canary.kill()
                canary.wait()
            self.listener.close()
            shutil.rmtree(self.folder, ignore_errors=True)
            shutil.rmtree(self.private, ignore_errors=True)

    def check_after(self) -> None:
        assert all(canary.poll() is None for canary in self.canaries), "a process outside the family was signalled"
        assert self.files() == self.before, "a file of root's was touched"


class Malice:
    """What to do next, out of a case."""

    def __init__(self, hostile: Hostile, case: bytes) -> None:
        self.hostile, self.case = hostile, case
        self.chance = random.Random(case)

    def act(self) -> None:
        self.hostile.gather()
        if not self.hostile.puppets:
            return
        puppet = self.chance.choice(self.hostile.puppets)
        for _ in range(self.chance.randrange(1, 6)):
            self.chance.choice((self.say, self.say, self.say, self.garble, self.scribble, self.command, self.flood))(
                puppet
            )
        with contextlib.suppress(OSError):  # so that nothing of it is read as the beginning of what others say
            puppet.line.shutdown(socket.SHUT_WR) if self.chance.random() < 0.3 else None

    def number(self) -> Any:
        family = list(self.hostile.server.family)
        canaries = [canary.pid for canary in self.hostile.canaries]
        plain = (0, 1, -1, 2, 3, 7, 2**31 - 1, 2**31, 2**53, -(2**63), 4194303, os.getpid(), *canaries, *canaries)
        return self.chance.choice((*plain, *family, *family))

    def text(self) -> str:
        private = str(self.hostile.private)
        texts = ("", "x", "\x1b[31m\n[critical] forged", "\ud800", "é" * 5000, private + "/made", private + "/secret")
        return self.chance.choice(texts)

    def policy(self) -> dict[str, Any]:
        """What a reloaded program may ask for, with some of it changed."""
        asked = {
            "workers": 2,
            "boot_timeout_s": 10.0,
            "worker_timeout_s": 5.0,
            "drain_timeout_s": 1.0,
            "shutdown_timeout_s": 1.0,
            "max_lifetime_s": None,
            "max_rss_bytes": None,
            "reload_surge": None,
            "use_reloader": False,
            "log_files": [str(self.hostile.folder / "access.log")],
        }
        for name in self.chance.sample(sorted(asked), self.chance.randrange(4)):
            odd = (
                self.number(),
                math.nan,
                math.inf,
                1e300,
                [self.text()],
                self.text(),
                None,
                {"pairs": [[self.text()] * 3]},
            )
            asked[name] = self.chance.choice(odd)
        return asked

    def value(self, kind: str) -> Any:
        if kind == "int":
            return self.number()
        if kind == "float":
            return self.chance.choice((0.0, -1.0, 1e300, math.inf, math.nan, 1.5))
        if kind == "bool":
            return self.chance.random() < 0.5
        if kind.startswith("list"):
            return [self.text()] * self.chance.randrange(4)
        if kind.startswith("dict"):
            return self.policy()
        return self.text()

    def say(self, puppet: Puppet) -> None:
        """A message of any kind, with fields that fit more or less, and descriptors that do or do not."""
        kind = self.chance.choice(_KINDS)
        record = {name: self.value(type_) for name, type_ in field_types(kind).items()}
        record["kind"] = kind.__name__
        if "pid" in record and self.chance.random() < 0.5:
            record["pid"] = puppet.pid
        if "fd_count" in record:
            record["fd_count"] = self.chance.choice((0, 1, 1, -1, 2**31))
        body = json.dumps(record).encode()
        opened = [self.descriptor() for _ in range(self.chance.choice((0, 0, 1, 1, 2, 5)))]
        puppet.say(struct.pack("!I", len(body)) + body, opened)
        for fd in opened:
            os.close(fd)

    def descriptor(self) -> int:
        pid = self.chance.choice((0, os.getpid(), self.hostile.canaries[0].pid, *self.hostile.server.family))
        with contextlib.suppress(OSError):
            if pid:
                return os.pidfd_open(pid)
        return os.open(os.devnull, os.O_RDWR)

    def garble(self, puppet: Puppet) -> None:
        puppet.say(self.case, [])

    def flood(self, puppet: Puppet) -> None:
        """More than there can be to say."""
        body = encode(messages.Logged("x" * self.chance.choice((1, 1000, 60000))))
        data = (struct.pack("!I", len(body)) + body) * max(1, 100_000 // len(body))
        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            puppet.say(data, [])

    def scribble(self, puppet: Puppet) -> None:
        """Any bytes into all the memory that can be written."""
        odd = (
            b"\xff" * 8,
            bytes(8),
            struct.pack("<d", math.nan),
            struct.pack("<d", math.inf),
            self.chance.randbytes(8),
        )
        for name, fd in puppet.fds.items():
            with contextlib.suppress(OSError, ValueError):
                os.ftruncate(fd, self.chance.choice((0, 8, 1 << 40)))
            if name == "aeros-worker":
                words = b'\n{"running": ' + self.chance.choice(
                    (b"[" * 9999, b'1, "threads": {}}\n', b'"", "threads": [1]}\n')
                )
                with contextlib.suppress(OSError):
                    os.pwrite(fd, self.chance.choice(odd) + words + self.case, self.chance.choice((0, 8, 1 << 20)))
            elif name in ("aeros-cells", "aeros-scoreboard"):
                with contextlib.suppress(OSError, ValueError), mmap.mmap(fd, os.fstat(fd).st_size) as shared:
                    shared[: 4 * 36864] = b"".join(self.chance.choice(odd) for _ in range(4 * 36864 // 8))

    def command(self, puppet: Puppet) -> None:
        """What the operator may do meanwhile."""
        server = self.hostile.server
        with contextlib.suppress(Exception):
            match self.chance.randrange(6):
                case 0:
                    server.send_signal(signal.SIGHUP)
                case 1:
                    server.send_signal(signal.SIGUSR1)
                case 2:
                    server.handle.scale(self.chance.randrange(1, 4))
                case 3:
                    server.handle.stack(0)
                case 4:
                    server.status()
                    server.handle.requests()
                case 5:
                    os.kill(puppet.pid, signal.SIGKILL)


def feed(hostile: Hostile, case: bytes) -> None:
    """Do what the case says, and see that nobody else has suffered."""
    try:
        Malice(hostile, case).act()
        eventually(lambda: hostile.server.status() is not None, 20, "an answer")
        hostile.check()
    except Exception as error:
        error.add_note(hostile.server.log[-3000:])
        raise
