"""A server is replaced as a whole, its supervisor too: nothing is dropped, and what goes wrong changes nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

import aeros
from tests.apps import HANGING, deploy, replace, source_of
from tests.conftest import Serve
from tests.helpers import proc
from tests.helpers.conditions import Watch, eventually
from tests.helpers.http import Address, Connection, ExchangeError, address_of, get
from tests.helpers.load import MIXED, Load, ask_until
from tests.helpers.notifysocket import NotifySocket
from tests.helpers.programs import program
from tests.helpers.serverproc import ServerProcess
from tests.helpers.wsclient import EchoClient
from tests.integration.test_pid_one import UNSHARE, may_unshare

START = "    app.start(sys.argv[1:])\n"
#: Workers of slot 1 and up are ready when there is a file of this name; that of slot 0 is at once.
HELD = source_of("full", "v2").replace(
    'note("before_serving")',
    'note("before_serving")\n    while app.worker.slot and not Path("go").exists():\n        await asyncio.sleep(0.02)',
)


def upgrade(server: ServerProcess, how: str = "command") -> int:
    """Upgrade, and wait until the next supervisor is the server; its pid, which `server` is then about."""
    old = server.pid
    if how == "signal":
        count = server.log.count("upgraded: pid")
        server.send_signal(signal.SIGUSR2)
        pid = int(server.wait_log(r"upgraded: pid (\d+) serves", count=count + 1)[1])
    else:
        done = server.command("upgrade", str(old))
        assert done.returncode == 0, done.stderr
        pid = int(re.findall(rf"upgraded: pid (\d+) serves after .*; pid {old} ends", done.stdout)[0])
    assert pid != old
    server.succeeded_by(pid)
    return pid


def next_supervisor(server: ServerProcess) -> int:
    """The pid of the program that an upgrade under way has started."""

    def found() -> int | None:
        # Zygotes carry on with the command line of the supervisor; a program run again has one of its own.
        children = [pid for pid in proc.children(server.pid) if proc.alive(pid)]
        return next((pid for pid in children if os.getpgid(pid) == pid), None)

    pid = eventually(found, 10, "the next supervisor")
    assert pid is not None
    return pid


def test_upgrades_under_load_drop_nothing(serve: Serve, tmp_path: Path) -> None:
    server = serve("full", "-w", "2", "--pid-file", "pid").ready(2)
    program, first = tmp_path / "app.py", server.pid
    with EchoClient(server.address) as echo, Load(server.address, MIXED) as tally:
        begun = time.monotonic()
        more = '    app.start([*sys.argv[1:], "-w", "3", "-b", "127.0.0.2:0"])\n'
        replace(program, source_of("full", "v2").replace(START, more))
        second = upgrade(server)
        assert (tmp_path / "pid").read_text() == f"{second}\n"
        assert server.command("status").stdout.startswith(f"ready: 3 of 3 workers ready, generation 1, pid {second},")
        assert len(server.status().addresses) == 2, "the new program binds one more"
        assert {server.get().json()["version"] for _ in range(20)} == {"v2"}
        upgraded_at = time.monotonic()
        eventually(lambda: len(tally.seen(upgraded_at)) > 0, 10, "requests after the upgrade")
        assert server.popen.wait(20) == 0
        # Once more, from the supervisor that came by an upgrade.
        deploy(program, version="v3")
        third = upgrade(server, "signal")
        eventually(lambda: not proc.alive(second), 20, "the end of the second")
        settled_at = time.monotonic()
        eventually(lambda: len(tally.seen(settled_at)) > 0, 10, "requests after that")
        assert tally.versions(settled_at) == {"v3"}
        eventually(lambda: len(echo.endings) >= 2, 10, "the WebSocket's endings")
    tally.assert_nothing_failed(at_least=50)
    assert tally.versions(begun) >= {"v2", "v3"}
    assert set(echo.codes) == {1012}
    status = server.ready(2).status()
    assert status.last_upgrade is not None
    assert (status.last_upgrade.ok, status.last_upgrade.pid, status.last_upgrade.replaced) == (True, third, second)
    # Nothing that the first two have counted is lost.
    asked = tally.ok + 20
    eventually(lambda: counted(server) == (asked, echo.opened), 5, f"{asked} in the totals, not {counted(server)}")
    assert server.popen.pid == first
    server.complete(2)
    assert not proc.zombies(server.family)
    server.send_signal(signal.SIGTERM)
    server.wait_gone()
    assert not (tmp_path / "pid").exists()


def counted(server: ServerProcess) -> tuple[int, int]:
    """Requests and WebSockets since the first start."""
    totals = server.status().totals
    return totals.requests, totals.websockets


@pytest.mark.slow
@pytest.mark.limit_s(600)
def test_twenty_upgrades_under_load(serve: Serve, tmp_path: Path) -> None:
    server = serve("full", "-w", "2", "--pid-file", "pid").ready(2)
    with Load(server.address, MIXED * 2) as tally:
        for number in range(2, 22):
            deploy(tmp_path / "app.py", version=f"v{number}")
            old = server.pid
            pid = upgrade(server, "signal" if number % 2 else "command")
            assert server.get().json()["version"] == f"v{number}"
            eventually(lambda old=old: not proc.alive(old), 20, "the end of the old one")
            upgraded_at = time.monotonic()
            eventually(lambda since=upgraded_at: len(tally.seen(since)) > 0, 10, "requests after the upgrade")
            assert tally.versions(upgraded_at) == {f"v{number}"}
            assert (tmp_path / "pid").read_text() == f"{pid}\n"
    tally.assert_nothing_failed(at_least=1000)
    print(f"{len(tally.records)} requests, {len(tally.failures)} failed, slowest {tally.slowest_s():.3f} s")
    print(tally.summary())
    server.complete(2)
    eventually(
        lambda: counted(server)[0] == tally.ok + 20, 5, f"{tally.ok} requests in the totals, not {counted(server)}"
    )


GOOD = source_of("full", "v2")
#: What is wrong with a program, and what is said of it.
BROKEN = {
    "no Python": ("this is no Python\n", "SyntaxError"),
    "a startup that fails": (GOOD.replace('note("before_serving")', 'raise RuntimeError("on purpose")'), "on purpose"),
    "an end": ("raise SystemExit(0)\n", "ended with exit code 0 before it reached start"),
    "an unknown option": (GOOD.replace(START, '    app.start("--no-such-option 1")\n'), "--no-such-option"),
    "another way to start": (GOOD.replace(START, "    app.start(sys.argv[1:], block=False)\n"), "block=False"),
    "a startup that hangs": (
        GOOD.replace('note("before_serving")', "await asyncio.Event().wait()").replace(
            START, '    app.start([*sys.argv[1:], "--boot-timeout", "1"])\n'
        ),
        "startup was not done within 1 s",
    ),
}


def refuses(serve: Serve, tmp_path: Path, broken: Sequence[str]) -> None:
    server = serve("full", "-w", "2", "--pid-file", "pid").ready(2)
    server.expect("upgrade refused", "cannot start", "Traceback", "has not reached start", "Fatal Python")
    server.complete(2)
    program = tmp_path / "app.py"
    before, pids = server.family, server.ready_pids()
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        another = (GOOD.replace(START, f'    app.start("-b 127.0.0.1:{port}")\n'), f"port {port} is held by")
        for text, reason in [another, *(BROKEN[name] for name in broken)]:
            replace(program, text)
            with pytest.raises(aeros.UpgradeFailed) as failed:
                server.handle().upgrade(timeout=20)
            assert reason in f"{failed.value}\n{failed.value.traceback}"
            assert server.ready_pids() == pids
            assert server.get().json()["version"] == "v1"
    replace(program, HANGING)
    done = server.command("upgrade", "--timeout", "1")
    assert done.returncode == 1
    assert done.stderr.partition("): ")[2].startswith(
        "upgrade refused, the old server goes on: the new program was ended: it had not"
    )
    status = server.status()
    assert status.last_upgrade is not None
    assert not status.last_upgrade.ok
    assert (tmp_path / "pid").read_text() == f"{server.pid}\n"
    eventually(lambda: server.family == before, 10, f"the family {before} alone")
    assert server.stop() == 0


def test_what_cannot_serve_is_refused_and_changes_nothing(serve: Serve, tmp_path: Path) -> None:
    refuses(serve, tmp_path, list(BROKEN)[:2])


@pytest.mark.slow
def test_more_that_cannot_serve_is_refused(serve: Serve, tmp_path: Path) -> None:
    refuses(serve, tmp_path, list(BROKEN)[2:])


def test_a_next_supervisor_that_is_killed_harms_nobody(serve: Serve, tmp_path: Path) -> None:
    """In each phase: while its program loads, while its fleet gets ready, and when it was told to take over."""
    server = serve("full", "-w", "2").ready(2)
    server.expect("upgrade refused")
    server.complete(2)
    before, pids = server.family, server.ready_pids()
    for turn, phase in enumerate(("loading", "preparing", "taking over"), 1):
        replace(tmp_path / "app.py", HANGING if phase == "loading" else HELD)
        (tmp_path / "go").unlink(missing_ok=True)
        server.send_signal(signal.SIGUSR2)
        pid = next_supervisor(server)
        if phase == "loading":
            eventually((tmp_path / "loading").exists, 10, "the new program under way")
        else:
            stopped = int(server.wait_log(r"worker slot=0 gen=1 pid=(\d+) ready", count=turn)[1])
        if phase == "taking over":
            os.kill(stopped, signal.SIGSTOP)
            (tmp_path / "go").touch()
            server.wait_log(r"worker slot=1 gen=1 pid=\d+ ready", count=2)
            # Its control socket is there as soon as it was told to take over.
            eventually((server.runtime_dir / "aeros" / f"{pid}.sock").exists, 10, "leave to accept")
        os.kill(pid, signal.SIGKILL)
        server.wait_log(rf"upgrade refused, pid {server.pid} goes on serving: .* ended with SIGKILL", count=turn)
        if phase == "taking over":
            os.kill(stopped, signal.SIGCONT)
        eventually(lambda: server.family == before, 15, f"the family {before} alone")
        assert server.ready_pids() == pids
        assert server.get().json()["version"] == "v1"
    assert server.stop() == 0


def test_a_second_upgrade_is_refused_and_a_reload_waits(serve: Serve, tmp_path: Path) -> None:
    server = serve("full", "-w", "2").ready(2)
    server.expect("SIGUSR2 ignored: an upgrade is under way")
    replace(tmp_path / "app.py", HELD)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(server.handle().upgrade)
        server.wait_log(r"worker slot=0 gen=1 pid=\d+ ready", count=2)
        with pytest.raises(aeros.UpgradeFailed, match="an upgrade is under way"):
            server.handle().upgrade()
        server.send_signal(signal.SIGUSR2)
        server.wait_log("SIGUSR2 ignored: an upgrade is under way")
        server.send_signal(signal.SIGHUP)
        server.wait_log("reload requested: SIGHUP")
        deploy(tmp_path / "app.py", version="v3")
        (tmp_path / "go").touch()
        done = asked.result(30)
    assert done.replaced == server.pid
    server.succeeded_by(done.pid)
    server.wait_log("reload requested: asked for during the upgrade")
    server.settled(2)
    assert server.get().json()["version"] == "v3"
    assert server.popen.wait(20) == 0


@pytest.mark.parametrize(
    "phase",
    [pytest.param("loading", marks=pytest.mark.slow), "preparing", pytest.param("taking over", marks=pytest.mark.slow)],
)
def test_a_stop_in_the_middle_of_an_upgrade_wins(serve: Serve, tmp_path: Path, phase: str) -> None:
    server = serve("full", "-w", "2").ready(2)
    replace(tmp_path / "app.py", HANGING if phase == "loading" else HELD)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(server.handle().upgrade)
        pid = next_supervisor(server)
        if phase == "loading":
            eventually((tmp_path / "loading").exists, 10, "the new program under way")
        else:
            first = int(server.wait_log(r"worker slot=0 gen=1 pid=(\d+) ready", count=2)[1])
        if phase == "taking over":
            os.kill(first, signal.SIGSTOP)
            (tmp_path / "go").touch()
            eventually((server.runtime_dir / "aeros" / f"{pid}.sock").exists, 10, "leave to accept")
        begun = time.monotonic()
        server.send_signal(signal.SIGTERM)
        server.wait_log("upgrade given up: the server is stopping")
        if phase == "taking over":
            os.kill(first, signal.SIGCONT)
        assert server.wait_exit() == 0
        assert time.monotonic() - begun < 6
        with pytest.raises((aeros.UpgradeFailed, aeros.ServerStopped), match="stopp"):
            asked.result(5)
    server.family_gone(3)


def test_sockets_control_dashboard_and_systemd_follow(serve: Serve, tmp_path: Path) -> None:
    notify, path, control = f"@aeros-upgrade-{os.getpid()}", str(tmp_path / "app.sock"), tmp_path / "control.sock"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        admin = ("127.0.0.1", free.getsockname()[1])
    options = ("-w", "1", "--control", "control.sock", "--admin", f"127.0.0.1:{admin[1]}", "--keep-alive", "60")
    with NotifySocket(notify) as systemd:
        server = serve("full", *options, bind=f"unix:{path}", env={"NOTIFY_SOCKET": notify})
        systemd.wait("READY", "1")
        inode = Path(path).stat().st_ino
        eventually(lambda: get(admin, "/status.json").json()["pid"] == server.pid, 20, "the dashboard")
        with Connection(path) as kept, Watch(lambda: get(path).status) as asked, closing(aeros.connect(control)) as old:
            assert kept.request("GET", "/").json()["version"] == "v1"
            deploy(tmp_path / "app.py", version="v2")
            done = old.upgrade(timeout=30)
            answer = kept.request("GET", "/")
            assert (answer.json()["version"], answer.says_close) == ("v1", True)
        assert not asked.errors
        assert get(admin, "/status.json").json()["pid"] == done.pid
        assert get(admin, "/readyz").status == 200
        assert server.popen.wait(20) == 0
        server.succeeded_by(done.pid)
        assert systemd.wait("MAINPID")["MAINPID"] == str(done.pid)
        systemd.wait("READY", "1", count=2)
        assert systemd.order() == ["READY", "MAINPID", "READY"], "the old one is silent from then on"
        assert Path(path).stat().st_ino == inode
        assert get(path).json()["version"] == "v2"
        with closing(aeros.connect(control)) as new:
            assert new.pid == done.pid
            new.stop()
        server.wait_gone()
        systemd.wait("STOPPING", "1")
    assert not Path(path).exists()
    assert not control.exists()


class Prober(threading.Thread):
    """Asks for one path of the dashboard in a tight loop, as a balancer's probe: 200 within a time, or it is noted."""

    def __init__(self, address: tuple[str, int], path: str, *, keep: bool) -> None:
        super().__init__(daemon=True, name=f"{path} {'kept alive' if keep else 'anew'}")
        self.address, self.path, self.keep = address, path, keep
        self.over = threading.Event()
        self.answers, self.slowest_s = 0, 0.0
        self.faults: list[str] = []

    def __enter__(self) -> Prober:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join(15)

    def run(self) -> None:
        connection: Connection | None = None
        while not self.over.is_set():
            begun = time.monotonic()
            try:
                connection = connection or Connection(self.address, 5)
                answer = connection.request("GET", self.path)
                if answer.status != 200:
                    self.faults.append(f"{answer.status} {answer.body!r}")
                self.answers += 1
                if not self.keep or answer.says_close:
                    connection.close()
                    connection = None
            except ExchangeError as error:
                self.faults.append(repr(error))
                connection = None
            self.slowest_s = max(self.slowest_s, time.monotonic() - begun)
        if connection is not None:
            connection.close()


def plotted(admin: Address) -> list[float]:
    """Requests a second as the dashboard's page plots them."""
    with Connection(admin) as page:
        page.send(page.head("GET", "/events"))
        with page.socket.makefile("rb") as lines:
            hello = next(line for line in lines if line.startswith(b"data: "))
    return [point["rate"] for point in json.loads(hello[6:])["points"]]


@pytest.mark.limit_s(150)
def test_no_probe_of_the_dashboard_fails_at_an_upgrade(serve: Serve) -> None:
    server = serve("full", "-w", "2", "--admin", "127.0.0.1:0", "--ready-min", "2").ready(2)
    admin = address_of(server.status().admin)
    assert not isinstance(admin, str)
    eventually(lambda: get(admin, "/readyz").status == 200, 20, "the dashboard")
    for _ in range(100):
        assert server.get().status == 200
    with ExitStack() as stack:
        probes = [
            stack.enter_context(Prober(admin, path, keep=keep))
            for path in ("/healthz", "/readyz")
            for keep in (False, True)
        ]
        with Connection(admin) as page:  # one that watches is let go, and comes back
            page.send(page.head("GET", "/events"))
            old = server.pid
            upgrade(server)
            begun = time.monotonic()
            assert page.read_answer().body.endswith(b"\n\n"), "the stream ends between two events"
            assert time.monotonic() - begun < 4
            eventually(lambda: not proc.alive(old), 10, "the end of the old one, and of its dashboard")
        for _ in range(4):
            old = server.pid
            upgrade(server)
            answers = [probe.answers for probe in probes]
            eventually(
                lambda before=answers: all(
                    probe.answers > last + 5 for probe, last in zip(probes, before, strict=True)
                ),
                20,
                "probes that are answered after the upgrade",
            )
            assert json.loads(get(admin, "/status.json").body)["pid"] == server.pid
            eventually(lambda old=old: not proc.alive(old), 10, "the end of the old one, and of its dashboard")
    rates = eventually(lambda: plotted(admin), 10, "plots")
    assert rates
    assert max(rates) < 50, "what was counted before the upgrade is no burst after it"
    for probe in probes:
        print(f"{probe.name}: {probe.answers} answers, slowest {probe.slowest_s:.3f} s, {probe.faults}")
    assert not [fault for probe in probes for fault in probe.faults]
    assert server.stop() == 0


def test_sockets_of_systemd_are_inherited_by_name(serve: Serve, tmp_path: Path) -> None:
    activate = program("systemd-socket-activate", "systemd")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = ("127.0.0.1", free.getsockname()[1])
    (tmp_path / "app.py").write_text(source_of("full"))
    keep = [word for name in ("XDG_RUNTIME_DIR", "PYTHONPATH", proc.MARKER, "SPT_NOENV") for word in ("-E", name)]
    argv = [activate, *keep, "-l", f"127.0.0.1:{address[1]}", sys.executable, str(tmp_path / "app.py"), "-w", "1"]
    server = serve(argv=argv)
    ask_until(address, lambda answer: answer.json()["version"] == "v1", 20)
    server.ready(1)
    deploy(tmp_path / "app.py", version="v2")
    upgrade(server)
    assert get(address).json()["version"] == "v2"
    assert server.popen.wait(20) == 0


def test_a_server_that_is_part_of_a_program_says_why_not(tmp_path: Path, runtime_dir: Path) -> None:
    with aeros.WebServer(__name__).start("-b 127.0.0.1:0 -w 1", block=False) as server:
        with pytest.raises(aeros.UpgradeFailed, match=r"block=False.*a reload replaces the workers"):
            server.upgrade()
        assert server.running


@pytest.mark.skipif(not may_unshare(), reason="needs the right to make a pid namespace")
def test_the_first_process_of_a_container_says_why_not(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(source_of("full"))
    server = serve(argv=[*UNSHARE, "--", sys.executable, "app.py", "-w", "1", "-b", "127.0.0.1:0"])
    server.supervisor_pid = 1
    server.expect("SIGUSR2 ignored")
    server.serving()
    (supervisor,) = proc.children(server.pid)
    os.kill(supervisor, signal.SIGUSR2)
    server.wait_log("SIGUSR2 ignored: the supervisor is PID 1")
    os.kill(supervisor, signal.SIGTERM)
    assert server.wait_exit() == 0
