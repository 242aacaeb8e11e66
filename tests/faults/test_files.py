"""Disks that are full, pipes nobody reads, pid files of others."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apps import source_of
from tests.conftest import Serve
from tests.helpers.conditions import eventually
from tests.helpers.figures import Report
from tests.helpers.load import KeepAliveGet, Load, NewConnectionGet


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_under_the_logs_stops_nothing(small_disk: Path, serve: Serve, report: Report) -> None:
    """Catalogue 35: lines are lost; requests, replacements and reloads are not."""
    logs = ["--error-logfile", str(small_disk / "log"), "--access-logfile", str(small_disk / "access")]
    server = serve("full", "-w", "2", *logs, "--control", "auto")
    server._waiting(lambda: len(server.ready_pids()) == 2, 20, "two workers")
    server._address = ("127.0.0.1", int(server.status().addresses[0].rpartition(":")[2]))
    (small_disk / "filler").write_bytes(b"x" * os.statvfs(small_disk).f_bavail * 4096)
    with Load(server.address, (NewConnectionGet, KeepAliveGet)) as tally:
        eventually(lambda: tally.ok > 300, 20)
        old = server.ready_pids()
        server.handle().reload(timeout=30)
        assert not server.ready_pids() & old
        for _ in range(80):
            server.handle().reopen_logs()  # a line each, more than the last page has room for
        (small_disk / "filler").unlink()
        (small_disk / "access").unlink()
        server.send_signal(signal.SIGUSR1)
        victim = min(server.ready_pids())
        os.kill(victim, signal.SIGKILL)
        log = small_disk / "log"
        eventually(lambda: f"pid={victim} died" in log.read_text(), 10, "lines are written again")
    assert len(tally.failures) <= 2, tally.summary()
    report.note("no request failed while the disk was full")
    assert server.stop() == 0


def test_access_lines_that_a_full_disk_lost_are_counted(small_disk: Path, serve: Serve) -> None:
    access = small_disk / "access"
    logs = ["--access-logfile", str(access), "--access-logformat", "<%(a)s>"]
    server = serve("full", "-w", "1", *logs).ready(1)
    server.expect("lost")
    (small_disk / "filler").write_bytes(b"x" * os.statvfs(small_disk).f_bavail * 4096)
    assert isinstance(server.address, tuple)
    host, port = server.address
    client = http.client.HTTPConnection(host, port, timeout=10)
    sent = 400  # of 2 KB each: more than may wait
    for _ in range(sent):
        client.request("GET", "/", headers={"User-Agent": "x" * 2000})
        assert client.getresponse().read()
    assert "lost" not in server.log
    subprocess.run(["mount", "-o", "remount,size=1m", str(small_disk)], check=True)
    client.request("GET", "/", headers={"User-Agent": "last"})
    assert client.getresponse().read()
    lost = int(server.wait_log(r"worker slot=0 .*: (\d+) access lines were lost: .*no room")[1])
    client.close()
    *written, last = eventually(lambda: [line.rpartition(" ")[2] for line in access.read_text().splitlines()], 5)
    assert lost > 100
    assert lost + len(written) == sent, "each is either there or counted"
    assert set(written) == {f"<{'x' * 2000}>"}, "and whole"
    assert last == "<last>", "in order"
    assert server.stop() == 0


def test_a_full_log_pipe_does_not_hold_the_supervisor_up(serve: Serve, tmp_path: Path, report: Report) -> None:
    """Catalogue 36: standard error is a pipe whose reader has stopped reading, and it is full to the brim."""
    reader, writer = os.pipe()
    program = tmp_path / "app.py"
    program.write_text("import os\nos.dup2(int(os.environ['LOG_PIPE']), 2)\n" + source_of("full"))
    argv = ["-w", "2", "-b", "127.0.0.1:0"]
    server = serve(argv=[sys.executable, str(program), *argv], env={"LOG_PIPE": str(writer)}, pass_fds=[writer])
    try:
        server._waiting(lambda: len(server.ready_pids()) == 2, 20, "two workers")
        server._address = ("127.0.0.1", int(server.status().addresses[0].rpartition(":")[2]))
        os.set_blocking(writer, False)
        with pytest.raises(BlockingIOError):
            while True:
                os.write(writer, b"x" * 512)
        os.set_blocking(writer, True)
        with Load(server.address, (NewConnectionGet,)) as tally:
            for _ in range(3):
                victim = min(server.ready_pids())
                os.kill(victim, signal.SIGKILL)
                eventually(lambda victim=victim: len(server.ready_pids() - {victim}) == 2, 5, "replaced")
            begun = tally.ok
            eventually(lambda: tally.ok > begun + 50, 10)
        assert len(tally.failures) <= 3, tally.summary()
        report.note("3 kills replaced, commands answered, with the pipe full")
        assert server.stop() == 0
    finally:
        os.close(reader)
        os.close(writer)


def test_a_pid_file_is_replaced_unless_its_server_lives(serve: Serve, tmp_path: Path) -> None:
    """Catalogue 37: dead, and a foreign live pid are both stale; the lock is what counts."""
    path = tmp_path / "pid"
    for stale in ("999999999\n", "1234\n56\n", f"{os.getpid()}\n", ""):
        path.write_text(stale)
        server = serve("full", "-w", "1", "--pid-file", str(path)).ready(1)
        assert path.read_text() == f"{server.pid}\n"
        second = serve("full", "-w", "1", "--pid-file", str(path))
        assert second.wait_exit() != 0
        assert f"pid {server.pid}" in second.log
        assert path.read_text() == f"{server.pid}\n"
        assert server.stop() == 0
        assert not path.exists()


def test_a_pid_file_of_another_is_left_at_the_end(serve: Serve, tmp_path: Path) -> None:
    """Catalogue 38."""
    path = tmp_path / "pid"
    server = serve("full", "-w", "1", "--pid-file", str(path)).ready(1)
    path.unlink()
    path.write_text("another's")
    assert server.stop() == 0
    assert path.read_text() == "another's"
