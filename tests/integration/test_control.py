"""The control socket: who may use it, what it makes of nonsense, and that nothing depends on it."""

from __future__ import annotations

import os
import signal
import socket
import stat
import struct
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.apps import source_of
from tests.conftest import Serve
from tests.helpers.conditions import eventually
from tests.helpers.load import KeepAliveGet, Load, NewConnectionGet
from tests.helpers.serverproc import ServerProcess, run_command

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")


def talk(path: Path, data: bytes, timeout_s: float = 5.0) -> bytes:
    """Send the bytes, say no more, and return what comes until the server ends the connection."""
    heard = b""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(timeout_s)
        client.connect(str(path))
        try:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            while more := client.recv(65536):
                heard += more
        except (BrokenPipeError, ConnectionResetError):
            pass
    return heard


def unharmed(server: ServerProcess, pids: set[int]) -> None:
    assert server.ready_pids() == pids
    assert server.get().status == 200


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"\x00" * 64,
        b"\xff" * 4096,
        b"{" * 5000,
        struct.pack("!I", 2) + b"{}",
        struct.pack("!I", 4) + b"null",
        struct.pack("!I", 20) + b'{"kind": "NoSuchOne"}'[:20],
        struct.pack("!I", 18) + b'{"kind": "Fork"}  ',
        struct.pack("!I", 0xFFFFFFFF) + b"x" * 1000,
        struct.pack("!I", 64 << 20) + b"x" * (8 << 20),
        struct.pack("!I", 100) + b"half",
        b"[" * 100_000,
        b'{"kind": "Stop"' + b" " * 100_000,
    ],
    ids=lambda data: f"{len(data)} bytes {data[:8]!r}",
)
def test_nonsense_gets_an_error_and_harms_nothing(shared: ServerProcess, data: bytes) -> None:
    before = shared.ready_pids()
    talk(shared.control_path, data)
    unharmed(shared, before)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> ServerProcess:
    """One server for all the abuse that must leave it as it is."""
    folder = tmp_path_factory.mktemp("control")
    program = folder / "app.py"
    program.write_text(source_of("full"))
    server = ServerProcess([sys.executable, str(program), "-w", "1", "-b", "127.0.0.1:0"], folder)
    server.expect("(?i)control")
    try:
        server.ready(1)
        yield server  # type: ignore[misc]
    finally:
        problems = server.close()
    assert not problems, problems


def test_the_socket_is_private(shared: ServerProcess) -> None:
    path = shared.control_path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert path.stat().st_uid == os.geteuid()


def test_clients_that_say_nothing_hold_nobody_up(shared: ServerProcess) -> None:
    """Catalogue 54: hundreds of silent and half-spoken connections, and status is as quick as before."""
    before = shared.ready_pids()
    with ExitStack() as stack:
        for number in range(200):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.settimeout(2)
            try:
                client.connect(str(shared.control_path))
                if number % 2:
                    client.sendall(b"\x00\x00")
            except OSError:
                continue  # refused beyond a limit is a fair answer
        begun = time.monotonic()
        eventually(lambda: shared.ready_pids() == before, 5)
        assert time.monotonic() - begun < 5
        assert shared.get().status == 200
    unharmed(shared, before)


@AS_ROOT
@pytest.mark.parametrize("opened", [False, True], ids=["by permission", "by the peer's uid"])
def test_another_user_is_refused(serve: Serve, opened: bool) -> None:
    server = serve("full", "-w", "1").ready(1)
    server.expect("(?i)control", "(?i)uid")
    path = server.control_path
    if opened:  # the check of the uid must hold by itself, whatever the modes say
        for folder in (path.parent, path.parent.parent):
            folder.chmod(0o755)
        path.chmod(0o666)
    pid = os.fork()
    if pid == 0:
        code = 9
        try:
            os.setgid(65534)
            os.setuid(65534)
            import aeros

            aeros.connect(path).stop()
            code = 0
        except OSError:
            code = 7
        except Exception as error:
            code = 8 if "Control" in type(error).__name__ or "Server" in type(error).__name__ else 9
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) in (7, 8)
    assert server.get().status == 200
    assert server.stop() == 0


def test_a_pid_that_is_no_server_is_named_so(tmp_path: Path) -> None:
    import aeros
    from aeros.errors import NotAServerError

    for wrong in (os.getpid(), 2**22 + 5, tmp_path / "nothing.sock", str(tmp_path)):
        with pytest.raises(NotAServerError, match=str(wrong)):
            aeros.connect(wrong).status()


@pytest.mark.parametrize("behaviour", ["hangs up", pytest.param("is silent", marks=pytest.mark.slow)])
def test_a_socket_of_something_else_is_named_so(behaviour: str) -> None:
    import aeros

    with tempfile.TemporaryDirectory(prefix="aeros-test-") as folder, socket.socket(socket.AF_UNIX) as other:
        path = Path(folder) / "other.sock"
        other.bind(str(path))
        other.listen()
        other.settimeout(10)

        def hang_up() -> None:
            other.accept()[0].close()

        answerer = threading.Thread(target=hang_up)
        if behaviour == "hangs up":
            answerer.start()
        begun = time.monotonic()
        with pytest.raises(aeros.NotAServerError, match=str(path)):
            aeros.connect(path)
        assert time.monotonic() - begun < 30
        if behaviour == "hangs up":
            answerer.join(10)


def test_off_means_none(serve: Serve) -> None:
    server = serve("full", "-w", "1", "--control", "off").serving()
    assert not server.control_path.exists()
    assert server.stop() == 0


def test_a_path_of_ones_own(serve: Serve) -> None:
    import aeros

    with tempfile.TemporaryDirectory(prefix="aeros-test-") as folder:
        path = Path(folder) / "mine.sock"
        server = serve("full", "-w", "1", "--control", str(path)).serving()
        with closing(aeros.connect(path)) as handle:
            assert handle.status().pid == server.pid
        done = server.command("status", str(path))
        assert done.returncode == 0, done.stderr
        assert server.stop() == 0
        assert not path.exists()


def refuse_writes(folder: Path) -> bool:
    """Make the folder one that nothing can be put into, even by root; False if that cannot be done here."""
    import shutil
    import subprocess

    if os.geteuid() != 0:
        folder.chmod(0o500)
        return True
    if shutil.which("mount") is None:
        return False
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro,size=64k", "aeros-test", str(folder)],
        capture_output=True,
        check=False,
    )
    return mounted.returncode == 0


def test_a_read_only_place_for_it_costs_one_info_line(serve: Serve) -> None:
    """Both places it would try are read-only; the server serves, without a control socket."""
    import subprocess

    with tempfile.TemporaryDirectory(prefix="aeros-test-ro-") as name:
        folder = Path(name)
        if not refuse_writes(folder):
            pytest.skip("cannot make a folder read-only here")
        try:
            server = serve("full", "-w", "2", runtime_dir=folder, env={"TMPDIR": str(folder)}).serving()
            said = [line for line in server.log.splitlines() if "control" in line.lower()]
            assert len(said) == 1, said
            assert "[info]" in said[0]
            with Load(server.address, (KeepAliveGet, NewConnectionGet)) as tally:
                before = tally.ok
                server.send_signal(signal.SIGHUP)
                server.wait_log(r"worker slot=1 gen=2 pid=\d+.*ready")
                eventually(lambda: tally.ok > before + 20, 10)
            tally.assert_nothing_failed()
            assert server.stop() == 0
        finally:
            subprocess.run(["umount", str(folder)], capture_output=True, check=False)
            folder.chmod(0o700)


def test_a_stale_socket_of_a_dead_server_is_no_server(serve: Serve) -> None:
    import aeros

    server = serve("full", "-w", "1").ready(1)
    server.expect("supervisor")
    path = server.control_path
    server.send_signal(signal.SIGKILL)
    server.wait_exit(5)
    server.family_gone(8)
    with pytest.raises(aeros.AerosError):
        aeros.connect(path).status()
    listed = run_command([sys.executable, "-m", "aeros", "status"], server.runtime_dir, server.cwd)
    assert listed.returncode == 1
    assert "Traceback" not in listed.stderr


def test_several_asked_at_the_same_time(shared: ServerProcess) -> None:
    pids: list[int] = []
    threads = [threading.Thread(target=lambda: pids.append(shared.status().pid)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert pids == [shared.pid] * 20
