"""Places where a server has little: few descriptors, no folder to write to, long paths, what dead servers left."""

from __future__ import annotations

import contextlib
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import aeros
from tests.apps import deploy, source_of
from tests.conftest import Serve
from tests.helpers.serverproc import environment, run_command


def test_a_reload_with_64_descriptors(serve: Serve, tmp_path: Path) -> None:
    server = serve(
        "full",
        *("-w", "2", "--admin", "127.0.0.1:0"),
        preexec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),
    ).ready(2)
    deploy(tmp_path / "app.py", version="v2")
    done = server.command("reload")
    assert done.returncode == 0, done.stderr
    assert server.get().json()["version"] == "v2"
    deploy(tmp_path / "app.py", version="v3")
    done = server.command("upgrade")
    assert done.returncode == 0, done.stderr
    server.succeeded_by(int(re.findall(r"upgraded: pid (\d+)", done.stdout)[0]))
    assert server.get().json()["version"] == "v3"


@pytest.mark.parametrize("variable", ["XDG_RUNTIME_DIR", "TMPDIR"])
def test_a_path_that_is_longer_than_a_socket_may_have(serve: Serve, tmp_path: Path, variable: str) -> None:
    folder = tmp_path / ("x" * 100) / ("y" * 100)
    folder.mkdir(parents=True)
    env = {"XDG_RUNTIME_DIR": "", variable: str(folder)}
    server = serve("full", "-w", "1", env=env)
    server.wait_log("reload: aeros reload")
    server.runtime_dir = folder  # for the commands
    for verb in ("status", "reload", "upgrade"):
        done = run_command([sys.executable, "-m", "aeros", verb], folder, tmp_path, **env)
        assert done.returncode == 0, done.stderr
    pid = int(re.findall(r"upgraded: pid (\d+)", done.stdout)[0])
    assert server.popen.wait(20) == 0
    server.pid = server.supervisor_pid = pid
    done = run_command([sys.executable, "-m", "aeros", "stop"], folder, tmp_path, **env)
    assert done.returncode == 0, done.stderr
    server.wait_gone()
    assert not list(folder.rglob("*.sock"))


def test_only_who_answers_is_a_server(serve: Serve, tmp_path: Path) -> None:
    """A killed server leaves its socket, and the kernel gives its pid to some other program."""
    server = serve("full", "-w", "1").ready(1)
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        stale = server.control_path.with_name(f"{other.pid}.sock")
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(stale))
            left.listen()
        assert stale.is_socket()
        assert server.command("status").stdout.startswith("ready: 1 of 1 workers ready")
        done = server.command("status", str(other.pid))
        assert (done.returncode != 0, "is not a running Aeros server" in done.stderr) == (True, True)
        beside = serve("full", "-w", "1", runtime_dir=server.runtime_dir).ready(1)
        assert not stale.exists(), "the next server tidies up"
        assert "say which" in server.command("status").stderr
        beside.send_signal(signal.SIGSTOP)
        try:
            assert "say which" in server.command("status").stderr, "one that is stopped is a server still"
        finally:
            beside.send_signal(signal.SIGCONT)
        assert beside.stop() == 0
        assert server.command("stop").returncode == 0
        assert server.wait_exit() == 0
    finally:
        other.communicate(b"\n", timeout=20)


@cache
def _may_make_root_read_only() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(_read_only(["true"]), capture_output=True, timeout=20, check=False).returncode == 0


def _read_only(command: list[str]) -> list[str]:
    """Run `command` where nothing can be written to but what is open."""
    remount = "for d in / /tmp /var/tmp /dev/shm; do mountpoint -q $d && mount -o remount,bind,ro $d; done; "
    return ["unshare", "--mount", "sh", "-c", f'{remount}exec "$@"', "sh", *command]


def test_a_server_without_a_folder_to_write_to(serve: Serve, tmp_path: Path) -> None:
    if not _may_make_root_read_only():
        pytest.skip("needs the right to mount")
    (tmp_path / "app.py").write_text(source_of("full"))
    command = [sys.executable, "app.py", "-w", "1", "-b", "127.0.0.1:0"]
    server = serve(argv=_read_only(command), env={"XDG_RUNTIME_DIR": "", "TMPDIR": ""})
    server.serving()
    assert server.get().json()["version"] == "v1"
    (line,) = [line for line in server.log.splitlines() if "no control socket" in line]
    assert "Read-only file system" in line
    assert "Traceback" not in server.log
    server.send_signal(signal.SIGHUP)
    server.wait_log("reloaded: generation 2")
    assert server.stop() == 0
    done = subprocess.run(
        _read_only([sys.executable, "-m", "aeros", "status"]),
        env=environment(tmp_path, "none", {"XDG_RUNTIME_DIR": "", "TMPDIR": ""}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr.startswith("aeros: no server of this user is running")


def test_who_listens_is_asked_of_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from aeros.core.net.unix_paths import is_listened_to

    for folder in (tmp_path, tmp_path / ("x" * 200)):
        folder.mkdir(exist_ok=True)
        path = folder / "1.sock"
        assert not is_listened_to(path)
        with socket.socket(socket.AF_UNIX) as listener:
            monkeypatch.chdir(folder)
            listener.bind("1.sock")
            assert not is_listened_to(path)
            listener.listen(1)
            for _ in range(4):  # its queue is full in between
                assert is_listened_to(path)
        assert not is_listened_to(path)
        with pytest.raises(aeros.NotAServerError, match="is not a running Aeros server"):
            aeros.connect(path)


def test_the_longest_idle_connections_make_room_for_newcomers(serve: Serve) -> None:
    server = serve(
        "full", "-w", "1", "--keep-alive-timeout", "60s",
        preexec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),
    ).ready(1)  # fmt: skip
    server.expect("idle for longest are closed")
    with contextlib.ExitStack() as stack:
        held: list[socket.socket] = []
        for number in range(100):
            one = stack.enter_context(socket.create_connection(server.address, timeout=5))
            # Were they to wait for the keep-alive timeout of others, this would take too long.
            one.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert one.recv(65536).startswith(b"HTTP/1.1 200"), number
            held.append(one)
        assert held[0].recv(1) == b""  # the one that was idle for longest
        held[-1].sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert held[-1].recv(65536).startswith(b"HTTP/1.1 200")
    server.wait_log("Too many open files; those that are idle for longest are closed")
    assert server.stop() == 0
