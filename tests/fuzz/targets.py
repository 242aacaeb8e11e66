"""What is fed with garbage. A target is entered, gets `feed(case)` again and again, and raises when something gives."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from aeros.core.ipc.channel import Channel, ChannelClosed
from aeros.core.ipc.messages import (
    Accepting,
    Answer,
    Arrived,
    Command,
    Draining,
    Exited,
    Failed,
    FilesChanged,
    Forked,
    ForkFailed,
    Goodbye,
    Hello,
    Loaded,
    LoadFailed,
    Message,
    ProtocolError,
    Ready,
    WantsRetirement,
    Welcome,
    ZygoteForked,
    ZygoteForkFailed,
    encode,
)
from aeros.errors import OptionsError
from aeros.options import Options, resolve
from aeros.options.table import OPTIONS
from tests.apps import source_of
from tests.component.played import Client, Family, PlayedWorker
from tests.component.test_supervisor_model import POLICY
from tests.helpers import proc
from tests.helpers.conditions import eventually
from tests.helpers.proc import open_fds
from tests.helpers.serverproc import ServerProcess
from tests.unit.test_proxy_protocol import read_off

from .corpus import cut
from .family import CASES_EACH, Hostile, feed

_NUMBERS = [b"0", b"-1", b"1", b"2", b"1e999", b"NaN", b"-Infinity", b"9" * 30, b"true", b"null", b'""', b"[]", b"{}"]


class Target:
    """name: also that of its folder in tests/corpus. splices: what is put into cases."""

    name: str
    splices: Sequence[bytes] = (b"\0", b"\xff", b"\r\n", b"\n", b" ", b'"', b"{", b"[" * 50, b"\\ud800", *_NUMBERS)

    def seeds(self) -> list[bytes]:
        raise NotImplementedError

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None: ...

    def feed(self, case: bytes) -> None:
        raise NotImplementedError


def framed(*messages: Message) -> bytes:
    return b"".join(struct.pack("!I", len(data)) + data for data in map(encode, messages))


def reframed(data: bytes) -> bytes:
    """Return the case with lengths that fit again, where it begins like a row of messages: garbage gets deeper then."""
    parts = [part for part in data.replace(b"}\0\0", b"}\n\0\0").split(b"\n") if part]
    return b"".join(struct.pack("!I", len(part[4:])) + part[4:] for part in parts)


_WORKER_SAYS = [
    Ready(10_000_001, 1, "nonce", 0.5),
    Accepting(),
    Draining(),
    Failed("startup", "ValueError: no", "Traceback (most recent call last)", False),
    WantsRetirement("max_requests reached"),
    Goodbye("stop", 3),
]
_ZYGOTE_SAYS = [
    Arrived(10_000_000, "0.1.0"),
    Loaded(10_000_000, 2, POLICY.to_message()),
    LoadFailed("there is no app", "Traceback"),
    Forked(1, 10_000_001, 0),
    ForkFailed(1, 11, "no more processes", ""),
    ZygoteForked(10_000_009),
    ZygoteForkFailed(2, "no more processes"),
    Exited(10_000_001, 9),
    FilesChanged(["app.py"]),
    Welcome(2, 1, 0, []),
]
_CLIENT_SAYS = [
    Hello("0.1.0"),
    Command(1, "ping", {}),
    Command(2, "reload", {"timeout_s": 5}),
    Command(3, "scale", {"workers": 2}),
    Command(4, "restart", {"slot": 0}),
    Command(5, "stack", {"slot": 0}),
    Command(6, "debug", {"slot": 0, "how": "delay", "seconds": 1}),
    Command(7, "wait_ready", {}),
    Command(8, "reopen", {}),
]


class Messages(Target):
    """One end of a channel: a message, or ProtocolError with the sender's name, and no descriptor is left."""

    name = "messages"

    def seeds(self) -> list[bytes]:
        said = [framed(one) for one in (*_WORKER_SAYS, *_ZYGOTE_SAYS, *_CLIENT_SAYS)]
        return [*said, b"".join(said), framed(Answer(1, "", "", "", {"ok": True}))]

    def feed(self, case: bytes) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        channel = Channel(ours, "worker slot=3")
        with open(os.devnull) as extra:  # noqa: PTH123
            before = len(open_fds())
            try:
                for index, part in enumerate(cut(random.Random(case), case)):
                    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", extra.fileno()))]
                    theirs.sendmsg([part], ancillary if index % 2 else [])
                    for message, fds in channel.receive():
                        assert isinstance(message, Message)
                        for fd in fds:
                            os.close(fd)
                theirs.close()
                with contextlib.suppress(ChannelClosed):
                    while True:
                        for _, fds in channel.receive():
                            for fd in fds:
                                os.close(fd)
            except ProtocolError as error:
                assert "worker slot=3" in str(error), error
            finally:
                channel.close()
                theirs.close()
            assert len(open_fds()) == before - 2


class Supervisor(Target):
    """A supervisor (see tests/component/played.py) whose worker or zygote says this: it goes on serving."""

    name = "supervisor"

    def seeds(self) -> list[bytes]:
        return [
            *(b"w" + framed(one) for one in _WORKER_SAYS),
            *(b"z" + framed(one) for one in _ZYGOTE_SAYS),
            b"w" + framed(*_WORKER_SAYS),
            b"z" + framed(*_ZYGOTE_SAYS),
        ]

    def feed(self, case: bytes) -> None:
        who, said = case[:1], case[1:]
        if random.Random(case).random() < 0.7:
            said = reframed(said)
        family = Family(POLICY)
        try:
            family.behave()
            family.pass_time(1.0)
            family.behave()
            assert family.announced == 1
            victim = family.first if who == b"z" else family.system.running(PlayedWorker)[0]
            if isinstance(victim, PlayedWorker):
                victim.guilty = True
            victim.say_bytes(said)
            for _ in range(200):
                family.turn()
                family.behave()
                if not family.over and self._well(family):
                    break
                family.pass_time(0.5)
            assert not family.over, "the supervisor has ended"
            assert self._well(family), family.supervisor.reporter.summary()
            family.signal(signal.SIGTERM)
            for _ in range(100):
                family.behave()
                family.pass_time(0.5)
                if family.over:
                    break
            assert family.over, "the stop does not end"
        except BaseException as error:
            error.add_note("\n".join(family.log.lines[-30:]))
            raise
        finally:
            left = family.close()
        assert not left, left

    def _well(self, family: Family) -> bool:
        serving = {one.order.slot for one in family.system.running(PlayedWorker) if one.accepting}
        return serving == set(range(family.office.target.workers)) and family.supervisor.reporter.state == "ready"


class Control(Target):
    """The control line in the test's own process: whoever else asks is answered, all workers stay as they are."""

    name = "control"

    def seeds(self) -> list[bytes]:
        return [*(framed(one) for one in _CLIENT_SAYS), framed(*_CLIENT_SAYS), framed(*_CLIENT_SAYS) * 20]

    def __enter__(self) -> Control:
        self.family = Family(POLICY)
        self.family.behave()
        self.family.pass_time(1.0)
        self.family.behave()
        self.other = Client(self.family)
        self.family.clients.append(self.other)
        return self

    def __exit__(self, *_: object) -> None:
        self.family.close()

    def feed(self, case: bytes) -> None:
        family = self.family
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        family.supervisor.control.adopt(Channel(theirs, "a control client"))
        if random.Random(case).random() < 0.5:
            case = reframed(case)
        with contextlib.suppress(OSError):
            ours.send(case)
        family.turn()
        family.behave()
        question = self.other.ask("ping")
        family.turn()
        assert question in self.other.answered, "nobody else is answered"
        ours.close()
        for _ in range(60):
            family.pass_time(0.5)
            family.behave()
            if family.supervisor.reporter.state == "ready":
                break
        assert family.supervisor.reporter.state == "ready", family.log.lines[-30:]
        family.log.lines.clear()


class OptionTexts(Target):
    """Arguments (parts between NULs), a variable (after a first !) or a TOML file (after a first #): options, or
    OptionsError."""

    name = "options"
    splices = (
        *(b"\0", b"=", b"-", b"--", b",", b":", b"[::1]:", b"unix:", b"fd://", b"99999999999", b"%", b"'", b'"', b"\n"),
        *(b"\xff", b"inf", b"nan", b"-1", b"1e400", b"auto", "٣".encode(), b"[a]\n", b" "),
    )

    def seeds(self) -> list[bytes]:
        found = []
        for option in OPTIONS:
            for flag in option.flags or ():
                found += [f"{flag}\0{value}".encode() for value in ("1", "127.0.0.1:0", "5s", "/tmp/x", "a=b:c")]
            found += [
                f"!{option.name}=2".encode(),
                f'#{option.name} = "2"\n'.encode(),
                f"#{option.name} = 2\n".encode(),
            ]
        return found

    def __enter__(self) -> OptionTexts:
        self.folder = Path(tempfile.mkdtemp(prefix="aeros-fuzz-"))
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder)

    def feed(self, case: bytes) -> None:
        text = case[1:].decode("utf-8", "surrogateescape")
        # A Python file or module is the user's code and run as such: nothing to be fuzzed.
        if "python:" in text or "file:" in text:
            return
        try:
            if case[:1] == b"!":
                name, _, value = text.partition("=")
                name, value = name.replace("\0", ""), value.replace("\0", "")
                if name.upper() != "CONFIG":
                    self._is(resolve([], environ={f"AEROS_{name.upper()}": value}))
            elif case[:1] == b"#":
                path = self.folder / "aeros.toml"
                path.write_bytes(case[1:])
                self._is(resolve(["-c", str(path)], environ={}))
            else:
                words = case.decode("utf-8", "surrogateescape").split("\0")
                if not any(word.startswith(("-c", "--c", "-h", "--help")) for word in words):
                    self._is(resolve(words, environ={}))
                    self._is(resolve(" ".join(words), environ={}))
        except OptionsError as error:
            assert str(error), "says nothing"
            assert "\n" not in str(error), error

    def _is(self, options: object) -> None:
        assert isinstance(options, Options)


class ProxyHeaders(Target):
    """The PROXY protocol before a connection: what is said, or why not; never a byte too many, never late."""

    name = "proxy"
    splices = (b"\r\n", b" ", b"PROXY TCP4 ", b"\r\n\r\n\0\r\nQUIT\n", b"\x21\x11\0\x0c", b"\xff\xff", b"::1", b"%eth0")

    def seeds(self) -> list[bytes]:
        v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\1\x7f\0\0\1\0\x50\1\xbb"
        return [
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 80\r\nGET / HTTP/1.1\r\n\r\n",
            b"PROXY TCP6 2001:db8::1 ::1 65535 1\r\n",
            b"PROXY UNKNOWN\r\n",
            v2 + b"GET /",
            v2[:13] + b"\x21\0\x24" + bytes(36),
            v2[:12] + b"\x20\0\0\0",
        ]

    def feed(self, case: bytes) -> None:
        if not case:
            return
        read_off([case[:1], case[1:]] if len(case) > 1 else [case])


class Lane(Target):
    """The fast lane (see tests/conformance/fuzzing.py): answers or closes, keeps no memory, never raises."""

    name = "lane"

    def __init__(self) -> None:
        folder = str(Path(__file__).resolve().parents[1] / "conformance")
        if folder not in sys.path:
            sys.path.insert(0, folder)
        import fuzzing

        self._made = fuzzing
        self.splices = fuzzing.SPLICES

    def seeds(self) -> list[bytes]:
        return list(self._made.SEEDS)

    def __enter__(self) -> Lane:
        import uvloop

        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._fuzzer = self._made.Fuzzer()
        self._run(self._fuzzer.__aenter__())
        return self

    def _run(self, what: Any) -> Any:
        return self._runner.run(what)

    def __exit__(self, *_: object) -> None:
        self._run(self._fuzzer.__aexit__())
        self._runner.close()

    def feed(self, case: bytes) -> None:
        parts = cut(random.Random(case), case)
        self._run(asyncio.wait_for(self._fuzzer.feed(parts), 10))


class _RealServer(Target):
    """A real server: after every few cases it must be as it was."""

    arguments: tuple[str, ...] = ()
    _fed = 0

    def __enter__(self) -> Any:
        self.folder = Path(tempfile.mkdtemp(prefix="aeros-fuzz-"))
        program = self.folder / "app.py"
        program.write_text(source_of("full"))
        argv = [sys.executable, str(program), "-w", "1", "-b", "127.0.0.1:0", *self.arguments]
        self.server = ServerProcess(argv, self.folder)
        self.server.expect("(?i)control")
        self.server.ready(1)
        self.server.complete(1 + self.beside)
        self.before = self.server.ready_pids()
        return self

    beside = 0

    def __exit__(self, kind: object, *_: object) -> None:
        problems = self.server.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        assert kind or not problems, problems

    def address(self) -> tuple[int, Any]:
        raise NotImplementedError

    def feed(self, case: bytes) -> None:
        family, where = self.address()
        with socket.socket(family) as client:
            client.settimeout(0.3)  # then it waits for more, as it may
            with contextlib.suppress(ConnectionError, TimeoutError):
                client.connect(where)
                client.sendall(case)
                client.shutdown(socket.SHUT_WR)
                self.judge(case, _all(client))
        self._fed += 1
        if self._fed % 50 == 0:
            self.check()

    def judge(self, case: bytes, answer: bytes) -> None: ...

    def check(self) -> None:
        eventually(lambda: self.server.ready_pids() == self.before, 10, "the same workers")
        assert self.server.get().status == 200
        fds = len(proc.open_fds(self.server.pid))
        assert fds < 100, proc.open_fds(self.server.pid)


def _all(client: socket.socket) -> bytes:
    heard = b""
    with contextlib.suppress(ConnectionError, TimeoutError):
        while more := client.recv(65536):
            heard += more
    return heard


class ControlSocket(_RealServer):
    """The control socket of a real server. Commands that change something are left out: they would do so."""

    name = "control-socket"

    def seeds(self) -> list[bytes]:
        return [framed(one) for one in (Hello("0"), Command(1, "ping", {}), Command(9, "wait_ready", {}))]

    def address(self) -> tuple[int, Any]:
        return socket.AF_UNIX, str(self.server.control_path)


class Admin(_RealServer):
    """The admin port of a real server: an HTTP answer or none, nothing given away, nothing in the log."""

    name = "admin"
    token = "correct-horse-battery"
    arguments = ("--admin", "127.0.0.1:0", "--admin-token", token)
    beside = 1
    splices = (
        *(b"\r\n", b" ", b"%00", b"%ff", b"../", b"//", b"?", b"&", b"=", b"\xff", b"Origin: http://[\r\n", b"Bearer "),
        *(b"Host: a]\r\n", b"Sec-Fetch-Site: same-site\r\n", b"Content-Length: 5\r\n", b"token", b"0" * 64),
    )

    def seeds(self) -> list[bytes]:
        paths = [
            "/",
            "/metrics",
            "/healthz",
            "/readyz",
            "/status",
            "/api/status",
            "/history",
            "/login",
            "/page.js",
            "/x",
        ]
        host = "Host: localhost\r\nConnection: close\r\n"
        gets = [f"GET {path} HTTP/1.1\r\n{host}\r\n" for path in paths]
        gets += [f"GET {path} HTTP/1.1\r\n{host}Authorization: Bearer wrong\r\n\r\n" for path in paths]
        body = json.dumps({"workers": 1, "token": "wrong", "command": "stop"})
        head = (
            f"{host}Content-Type: application/json\r\nOrigin: http://localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        posts = [f"POST {path} HTTP/1.1\r\n{head}{body}" for path in (*paths, "/command", "/api/stop", "/api/reload")]
        return [text.encode() for text in (*gets, *posts)]

    def address(self) -> tuple[int, Any]:
        if not hasattr(self, "_where"):
            url = self.server.status().admin
            host, _, port = url.rpartition("//")[2].partition(":")
            self._where = (host, int(port))
        return socket.AF_INET, self._where

    def judge(self, case: bytes, answer: bytes) -> None:
        assert not answer or answer.startswith(b"HTTP/1."), answer[:200]
        # To a target without a path Hypercorn answers 500 of its own accord.
        odd = re.search(rb"^[^ ]+ +[^/]", case) is not None
        assert odd or not answer.startswith(b"HTTP/1.1 500"), (case, answer[:500])
        assert self.token.encode() not in answer


class HostileFamily(Target):
    """A real supervisor of root's whose zygotes and workers are turned against it; see `family`. Root only."""

    name = "family"

    def seeds(self) -> list[bytes]:
        return [framed(one) for one in (*_WORKER_SAYS, *_ZYGOTE_SAYS)]

    def __enter__(self) -> HostileFamily:
        self._fed = 0
        self._hostile = Hostile()
        return self

    def __exit__(self, *_: object) -> None:
        self._hostile.end(signal.SIGTERM)

    def feed(self, case: bytes) -> None:
        if self._fed and self._fed % CASES_EACH == 0:
            self._hostile.end(random.Random(case).choice((signal.SIGTERM, signal.SIGQUIT, signal.SIGINT)))
            self._hostile = Hostile()
        self._fed += 1
        feed(self._hostile, case)


TARGETS: Iterable[type[Target]] = (
    Lane,
    Messages,
    Supervisor,
    Control,
    OptionTexts,
    ProxyHeaders,
    ControlSocket,
    Admin,
    HostileFamily,
)
BY_NAME = {target.name: target for target in TARGETS}
