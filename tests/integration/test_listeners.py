"""What is bound, by whom it may be reached, and what is left of it afterwards."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.helpers.conditions import eventually
from tests.helpers.http import Connection, address_of, get
from tests.helpers.load import KeepAliveGet, Load, NewConnectionGet
from tests.helpers.loops import EVERY_LOOP
from tests.helpers.serverproc import ServerProcess


def socket_path(server_dir: Path) -> Path:
    path = server_dir / "web.sock"
    assert len(str(path)) < 100
    return path


def test_port_zero_is_read_back(serve: Serve) -> None:
    server = serve("full", "-w", "1", bind="127.0.0.1:0").ready(1)
    address = address_of(server.url)
    assert address[1] != 0
    assert any(str(address[1]) in shown for shown in server.status().addresses)
    assert get(address).status == 200
    assert server.stop() == 0


def test_several_binds_serve_the_same_app(serve: Serve) -> None:
    server = serve("full", "-w", "1", "-b", "127.0.0.1:0", bind="127.0.0.1:0").ready(1)
    addresses = server.status().addresses
    assert len(addresses) == 2
    assert len({get(address_of(shown)).json()["pid"] for shown in addresses}) == 1
    assert server.stop() == 0


def test_ipv6(serve: Serve) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    server = serve("full", "-w", "2", bind="[::1]:0").ready(2)
    assert server.url.startswith("http://[::1]:")
    assert get(server.address).status == 200
    assert server.stop() == 0


@pytest.mark.parametrize("moment", ["settled", "reloading"])
def test_a_second_server_on_the_port_fails_at_once_and_names_the_first(
    serve: Serve, tmp_path: Path, moment: str
) -> None:
    first = serve("full", "-w", "2").ready(2)
    address = first.address
    if moment == "reloading":
        first.send_signal(signal.SIGHUP)
    second = serve("full", "-w", "2", bind=f"127.0.0.1:{address[1]}")
    second.expect("")
    assert second.wait_exit(15) == 4
    assert str(first.pid) in second.log, "the pid of the holder"
    assert str(address[1]) in second.log
    assert "Traceback" not in second.log
    assert first.get().status == 200
    assert first.settled()
    assert first.stop() == 0


def test_no_reuseport_and_nodelay_on_accepted_connections(serve: Serve) -> None:
    """A server with SO_REUSEPORT would let this bind succeed beside it."""
    server = serve("full", "-w", "2").ready(2)
    with socket.socket() as rival:
        rival.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with pytest.raises(OSError, match="in use"):
            rival.bind(server.address)
    assert server.stop() == 0


@EVERY_LOOP
def test_accepted_connections_have_nodelay(serve: Serve, loop: str) -> None:
    text = """
import os, sys, socket
from aeros import WebServer

app = WebServer(__name__)

@app.get("/")
async def home():
    flags = []
    for name in os.listdir("/proc/self/fd"):
        try:
            with socket.socket(fileno=os.dup(int(name))) as one:
                one.getpeername()
                flags.append(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        except OSError:
            continue
    return {"nodelay": flags}

if __name__ == "__main__":
    app.start(sys.argv[1:])
"""
    server = serve(text, "-w", "1", "-k", loop).ready(1)
    assert server.get().json()["nodelay"] == [1]
    assert server.stop() == 0


def test_a_unix_socket_has_its_mode_from_the_start_and_is_removed(serve: Serve, tmp_path: Path) -> None:
    path = socket_path(tmp_path)
    server = serve("full", "-w", "2", "-m", str(0o117), bind=f"unix:{path}").ready(2)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert get(str(path)).status == 200
    with Load(str(path), (KeepAliveGet, NewConnectionGet)) as tally:
        server.handle().reload(timeout=30)
        server.settled()
    tally.assert_nothing_failed()
    assert server.stop() == 0
    assert not path.exists()


def test_a_stale_socket_file_is_replaced(serve: Serve, tmp_path: Path) -> None:
    path = socket_path(tmp_path)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    server = serve("full", "-w", "1", bind=f"unix:{path}").ready(1)
    assert get(str(path)).status == 200
    assert server.stop() == 0


def test_a_live_socket_is_not_stolen(serve: Serve, tmp_path: Path) -> None:
    path = socket_path(tmp_path)
    first = serve("full", "-w", "1", bind=f"unix:{path}").ready(1)
    second = serve("full", "-w", "1", bind=f"unix:{path}")
    second.expect("")
    assert second.wait_exit(15) == 4
    assert str(path) in second.log
    assert get(str(path)).status == 200
    assert first.stop() == 0


def test_a_file_that_is_no_socket_is_kept(serve: Serve, tmp_path: Path) -> None:
    path = socket_path(tmp_path)
    path.write_text("precious")
    server = serve("full", "-w", "1", bind=f"unix:{path}")
    server.expect("")
    assert server.wait_exit(15) == 4
    assert path.read_text() == "precious"


def test_a_socket_of_another_in_its_place_is_left_at_exit(serve: Serve, tmp_path: Path) -> None:
    path = socket_path(tmp_path)
    server = serve("full", "-w", "1", bind=f"unix:{path}").ready(1)
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        assert server.stop() == 0
        assert path.exists(), "not ours to remove"


def test_an_inherited_descriptor(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.set_inheritable(True)
        server = serve("full", "-w", "2", bind=f"fd://{listener.fileno()}", pass_fds=[listener.fileno()]).ready(2)
        address = listener.getsockname()[:2]
        assert get(address).status == 200
        with Load(address, (KeepAliveGet, NewConnectionGet)) as tally:
            server.handle().reload(timeout=30)
            server.settled()
        tally.assert_nothing_failed()
        assert server.stop() == 0


def test_a_descriptor_that_is_no_socket_is_refused(serve: Serve) -> None:
    server = serve("full", "-w", "1", bind="fd://0")
    server.expect("")
    assert server.wait_exit(15) in (2, 4)
    assert "fd://0" in server.log
    assert "Traceback" not in server.log


@pytest.mark.parametrize("bad", ["256.1.1.1:80", "203.0.113.1:8000", "127.0.0.1:99999", "127.0.0.1:http"])
def test_an_address_that_cannot_be_is_refused(serve: Serve, bad: str) -> None:
    server = serve("full", "-w", "1", bind=bad)
    server.expect("")
    assert server.wait_exit(20) in (2, 4)
    assert bad.partition(":")[0] in server.log or bad.rpartition(":")[2] in server.log
    assert "Traceback" not in server.log


def test_children_of_the_app_do_not_hold_the_port(serve: Serve) -> None:
    """Catalogue 47: descriptors are close-on-exec, so a process the app leaves running keeps nothing busy."""
    text = """
import os, subprocess, sys
from aeros import WebServer

app = WebServer(__name__)

@app.get("/")
async def home():
    return {"child": subprocess.Popen(["sleep", "300"], start_new_session=True, close_fds=False).pid}

if __name__ == "__main__":
    app.start(sys.argv[1:])
"""
    server = serve(text, "-w", "1").ready(1)
    address = server.address
    child = server.get().json()["child"]
    server.expected_leftovers.add(child)
    server.expect("Popen.__del__", "Traceback", "ResourceWarning: subprocess")  # what development mode says of the app
    assert server.stop() == 0
    again = serve("full", "-w", "1", bind=f"127.0.0.1:{address[1]}").ready(1)
    assert again.stop() == 0
    os.kill(child, signal.SIGKILL)


def test_a_full_backlog_is_kept_by_the_supervisor(serve: Serve) -> None:
    """Each worker's loop calls listen() again; the queue must stay as long as --backlog says."""
    server = serve("full", "-w", "2", "--backlog", "321").ready(2)
    port = server.address[1]
    shown = subprocess.run(["ss", "-ltn", f"sport = :{port}"], capture_output=True, text=True, timeout=10, check=False)
    if shown.returncode != 0:
        pytest.skip("needs ss")
    assert shown.stdout.splitlines()[-1].split()[2] == "321", shown.stdout
    assert server.stop() == 0


def test_connections_are_spread_over_the_workers(serve: Serve) -> None:
    """Demand 22: connections held open go to all workers, not to the first that wakes."""
    server = serve("full", "-w", "4").ready(4)
    held: list[Connection] = []
    try:
        for _ in range(80):
            connection = Connection(server.address)
            held.append(connection)
            connection.request("GET", "/")
        counts = sorted(worker.connections for worker in server.workers())
        assert sum(counts) == 80
        assert counts[0] >= counts[-1] / 4, f"uneven: {counts}"
    finally:
        for connection in held:
            connection.close()
    assert server.stop() == 0


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
def test_nobody_is_left_in_the_backlog_of_a_busy_worker(serve: Serve, tmp_path: Path, unix: bool) -> None:
    """Turns of its loop are long, as each answers all that have been accepted: who comes last waits for few of them."""
    bind = {"bind": f"unix:{tmp_path}/app.sock"} if unix else {}
    server = serve("full", "-w", "1", **bind).ready(1)
    busy = [Connection(server.address) for _ in range(24)]
    answers = dict.fromkeys(busy, 0)
    with selectors.DefaultSelector() as selector:
        for connection in busy:
            connection.send(connection.head("GET", "/block?s=0.005"))
            selector.register(connection.socket, selectors.EVENT_READ, connection)
        deadline = time.monotonic() + 20
        while not all(answers.values()):
            assert time.monotonic() < deadline, answers
            for key, _ in selector.select(1):
                key.data.read_answer()
                answers[key.data] += 1
                key.data.send(key.data.head("GET", "/block?s=0.005"))
    for connection in busy:
        connection.close()
    assert max(answers.values()) <= 6, sorted(answers.values())
    assert server.stop() == 0


def test_two_servers_started_at_once_on_one_port(serve: Serve) -> None:
    """Catalogue 41: exactly one lives."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    servers: list[ServerProcess] = [serve("full", "-w", "1", bind=f"127.0.0.1:{port}") for _ in range(2)]
    for server in servers:
        server.expect("")
    eventually(lambda: sum(server.popen.poll() is not None for server in servers) == 1, 20, "one has given up")
    loser = next(server for server in servers if server.popen.poll() is not None)
    winner = next(server for server in servers if server is not loser)
    assert loser.popen.returncode == 4
    winner.ready(1)
    assert winner.stop() == 0


def has_loopback6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_loopback6(), reason="this machine has no IPv6 loopback")
def test_localhost_is_both_families_with_one_port_and_stays_so(serve: Serve) -> None:
    server = serve("full", "-w", "2", bind="localhost:0").ready(2)
    port = server.address[1]
    assert sorted(server.status().addresses) == [f"http://127.0.0.1:{port}", f"http://[::1]:{port}"]
    assert server.handle().reload(timeout=30).ok
    assert "a reload keeps" not in server.log
    server.succeeded_by(server.handle().upgrade(timeout=30).pid)
    server.ready(2)
    assert sorted(server.status().addresses) == [f"http://127.0.0.1:{port}", f"http://[::1]:{port}"]
    assert get(("127.0.0.1", int(port))).status == get(("::1", int(port))).status == 200
    server.send_signal(signal.SIGTERM)
    server.wait_gone()


@pytest.mark.skipif(not has_loopback6(), reason="this machine has no IPv6 loopback")
def test_localhost_beside_its_own_ipv6_address(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = serve("full", "-w", "1", "-b", f"localhost:{port}", bind=f"[::1]:{port}").ready(1)
    assert len(server.status().addresses) == 2
    assert server.stop() == 0


@pytest.mark.skipif(not has_loopback6(), reason="this machine has no IPv6 loopback")
def test_localhost_is_refused_where_another_has_half_of_it(serve: Serve) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as other:
        port = other.getsockname()[1]
        server = serve("full", "-w", "1", bind=f"localhost:{port}")
        server.expect("cannot bind")
        assert server.wait_exit(20) == 4
    assert f"[::1]:{port}" in server.log


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="abstract sockets are Linux's")
@EVERY_LOOP
def test_an_abstract_socket_serves_and_stays(serve: Serve, tmp_path: Path, loop: str) -> None:
    name = f"aeros-test-{os.getpid()}-{loop}"
    server = serve("full", "-w", "2", "-k", loop, bind=f"unix:@{name}")
    server.wait_log(f"serves .* at unix:@{name}")
    eventually(lambda: server.status().ready_workers == 2, 30)
    assert server.status().addresses == (f"unix:@{name}",)
    assert not list(tmp_path.glob("@*"))
    assert get(f"\0{name}").status == 200
    second = serve("full", "-w", "1", bind=f"unix:@{name}")
    second.expect("cannot bind")
    assert second.wait_exit(20) == 4
    assert "another process is listening" in second.log
    assert server.handle().reload(timeout=30).ok
    assert get(f"\0{name}").status == 200
    server.succeeded_by(server.handle().upgrade(timeout=30).pid)
    assert get(f"\0{name}").status == 200
    server.send_signal(signal.SIGTERM)
    server.wait_gone()
