"""Who is at the other end of a control socket: looked at by the client before it says a word, and by the server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import aeros
from aeros.errors import NotAServerError
from tests.conftest import Serve
from tests.helpers import proc
from tests.helpers.conditions import eventually

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")

# What another user leaves running: it notes whatever it is told.
LISTENER = """
import os, socket, sys
path, told, uid, owner = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
log = os.open(told, os.O_WRONLY | os.O_CREAT)
if uid:
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
line = socket.socket(socket.AF_UNIX)
line.bind(path)
os.chmod(path, 0o777)
line.listen()
print("listens", flush=True)
while True:
    client, _ = line.accept()
    while data := client.recv(65536):
        os.write(log, data)
"""


@contextmanager
def listener(path: Path, told: Path, uid: int = NOBODY) -> Iterator[int]:
    """Another user's process that listens at `path` and writes down in `told` what it hears."""
    argv = [sys.executable, "-I", "-c", LISTENER, str(path), str(told), str(uid), "0"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env={proc.MARKER: os.environ.get(proc.MARKER, "")}) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"listens\n"
            yield process.pid
        finally:
            process.kill()


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like /tmp, where control sockets are when no XDG_RUNTIME_DIR is set."""
    place = tmp_path / "shared"
    place.mkdir()
    place.chmod(0o1777)
    for folder in (tmp_path, *tmp_path.parents):
        if folder != Path("/") and folder.stat().st_uid == os.geteuid():
            folder.chmod(folder.stat().st_mode | 0o011)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr("tempfile.tempdir", None)
    return place


def own_folder(shared: Path, owner: int = 0, mode: int = 0o700) -> Path:
    folder = shared / f"aeros-{os.geteuid()}"
    folder.mkdir()
    folder.chmod(mode)
    os.chown(folder, owner, owner)
    return folder


@needs_root
def test_a_folder_that_another_user_made_first_is_told_nothing(shared: Path, tmp_path: Path) -> None:
    folder, told = own_folder(shared, NOBODY, 0o755), tmp_path / "told"
    with listener(folder / f"{os.getpid()}.sock", told):
        for ask in (lambda: aeros.connect(os.getpid()), lambda: aeros.connect(folder / f"{os.getpid()}.sock")):
            with pytest.raises(NotAServerError, match=r"the folder .*/aeros-0 belongs to user nobody"):
                ask()
        with pytest.raises(NotAServerError, match=r"the folder .*/aeros-0 belongs to user nobody"):
            aeros.running_servers()
        for words in (["status"], ["reload"], ["upgrade", "--", "--admin-token", "sesame-open"], ["stop"]):
            done = subprocess.run(
                [sys.executable, "-m", "aeros", *words], check=False, capture_output=True, text=True, timeout=60
            )
            assert done.returncode != 0
            assert "belongs to user nobody" in done.stderr
            assert len(done.stderr.splitlines()) == 1
    assert told.read_bytes() == b""


@needs_root
def test_the_doctor_says_so(shared: Path) -> None:
    own_folder(shared, NOBODY, 0o755)
    command = [sys.executable, "-m", "aeros", "doctor"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert "aeros-0 belongs to user nobody" in done.stdout
    assert done.returncode == 1


@needs_root
def test_neither_is_a_socket_or_a_listener_of_another_user(tmp_path: Path, shared: Path) -> None:
    told, path = tmp_path / "told", shared / "x.sock"
    with listener(path, told):
        with pytest.raises(NotAServerError, match=r"x.sock belongs to user nobody; nothing was said"):
            aeros.connect(path)
        # The file can be given away, who listens cannot.
        os.chown(path, 0, 0)
        with pytest.raises(NotAServerError, match="user nobody listens there; nothing was said"):
            aeros.connect(path)
        link = tmp_path / "link.sock"
        link.symlink_to(path)
        with pytest.raises(NotAServerError, match=r"link.sock is a symbolic link"):
            aeros.connect(link)
    assert told.read_bytes() == b""


@needs_root
def test_roots_own_listener_is_trusted_by_others() -> None:
    """A worker under --run-as speaks to its supervisor, which is root."""
    from aeros.core.places import distrusted_peer

    with socket.socket(socket.AF_UNIX) as here, socket.socket(socket.AF_UNIX) as client:
        here.bind("")  # an abstract one, of a name the kernel chooses
        here.listen()
        client.connect(here.getsockname())
        assert distrusted_peer(client) == ""
        pid = os.fork()
        if pid == 0:
            os.setresuid(NOBODY, NOBODY, NOBODY)
            os._exit(len(distrusted_peer(client)))
        assert os.waitpid(pid, 0)[1] == 0


@needs_root
@pytest.mark.parametrize("kind", ["folder", "link", "file"])
def test_a_server_does_without_a_place_that_is_another_users(serve: Serve, shared: Path, kind: str) -> None:
    place = shared / "aeros-0"
    if kind == "folder":
        own_folder(shared, NOBODY, 0o777)
    elif kind == "link":
        elsewhere = shared / "elsewhere"
        elsewhere.mkdir(0o700)
        place.symlink_to(elsewhere)
    else:
        place.touch()
    env = {"XDG_RUNTIME_DIR": "", "TMPDIR": str(shared)}
    server = serve("full", "-w", "1", env=env)
    server.expect("no control socket")
    server.wait_log(r"\[warning\].*no control socket: .*aeros-0.* (belongs to user nobody|is no folder)")
    eventually(lambda: server.get().status == 200, 20)
    assert not place.is_dir() or kind == "link" or not list(place.iterdir())
    server.send_signal(signal.SIGTERM)
    assert server.wait_exit() == 0


def test_an_own_folder_that_others_may_write_is_mended_by_the_server_and_refused_by_clients(
    serve: Serve, shared: Path
) -> None:
    folder = own_folder(shared, os.geteuid(), 0o777)
    with pytest.raises(NotAServerError, match=r"others than its owner may write the folder .* \(mode 0777\)"):
        aeros.running_servers()
    server = serve("full", "-w", "1", env={"XDG_RUNTIME_DIR": "", "TMPDIR": str(shared)})
    eventually(lambda: folder.stat().st_mode & 0o777 == 0o700, 20)
    eventually(lambda: aeros.running_servers() == [server.pid], 20)
    with aeros.connect(server.pid) as handle:
        handle.wait_ready(20)


def test_a_control_path_of_ones_own_works_as_before(serve: Serve, tmp_path: Path) -> None:
    server = serve("full", "-w", "1", "--control", "my.sock")
    server.wait_log("supervisor pid")
    with aeros.connect(tmp_path / "my.sock") as handle:
        assert handle.pid == server.pid
    assert server.command("status", str(tmp_path / "my.sock")).returncode == 0
