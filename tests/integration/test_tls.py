"""TLS: HTTP/1.1 and HTTP/2 by ALPN, a GOAWAY before a draining worker leaves, a new certificate by reload."""

from __future__ import annotations

import shutil
import signal
import socket
import ssl
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.helpers.conditions import eventually
from tests.helpers.h2client import GoAway, H2Connection
from tests.helpers.http import address_of, get
from tests.helpers.loops import EVERY_LOOP
from tests.helpers.serverproc import ServerProcess
from tests.helpers.tls import client_context, make_certificate


def goaway_of(connection: H2Connection) -> GoAway | None:
    connection.pump(0.1)
    return connection.goaway


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    return make_certificate(tmp_path)


def tls_server(serve: Serve, certificate: tuple[Path, Path], *args: str) -> ServerProcess:
    server = serve("full", "--certfile", str(certificate[0]), "--keyfile", str(certificate[1]), *args).ready()
    assert server.url.startswith("https://")
    return server


@EVERY_LOOP
def test_http_1_and_http_2_by_alpn(serve: Serve, certificate: tuple[Path, Path], loop: str) -> None:
    server = tls_server(serve, certificate, "-w", "2", "-k", loop)
    assert get(server.address, tls=client_context(certificate[0], "http/1.1")).status == 200
    with H2Connection(server.address, client_context(certificate[0], "h2", "http/1.1")) as connection:
        assert connection.protocol == "h2"
        assert connection.get("/").status == 200
        many = [connection.begin("/slow?s=0.2") for _ in range(10)]
        assert {connection.finish(stream).status for stream in many} == {200}
    eventually(lambda: server.status().totals.requests == 12, 5)
    assert server.stop() == 0


@EVERY_LOOP
@pytest.mark.parametrize("end", ["reload", "stop"])
def test_an_idle_http_2_connection_gets_a_goaway(
    serve: Serve, certificate: tuple[Path, Path], loop: str, end: str
) -> None:
    server = tls_server(serve, certificate, "-w", "1", "-k", loop, "--drain-timeout", "10")
    with H2Connection(server.address, client_context(certificate[0], "h2")) as connection:
        assert connection.get("/").status == 200
        server.send_signal(signal.SIGHUP if end == "reload" else signal.SIGTERM)
        eventually(lambda: goaway_of(connection), 20, "a GOAWAY")
        assert connection.goaway is not None
        assert connection.goaway.error_code == 0
    if end == "reload":
        server.settled(2)
        assert server.stop() == 0
    else:
        assert server.wait_exit() == 0


@EVERY_LOOP
def test_streams_under_way_finish_after_the_goaway(serve: Serve, certificate: tuple[Path, Path], loop: str) -> None:
    server = tls_server(serve, certificate, "-w", "1", "-k", loop, "--drain-timeout", "15")
    with H2Connection(server.address, client_context(certificate[0], "h2")) as connection:
        old = connection.get("/").json()["pid"]
        stream = connection.begin("/slow?s=2")
        eventually(lambda: sum(worker.in_flight for worker in server.workers()) == 1, 5)
        server.send_signal(signal.SIGHUP)
        answer = connection.finish(stream, 15)
        assert answer.status == 200
        assert answer.json()["pid"] == old
        eventually(lambda: goaway_of(connection), 10, "a GOAWAY")
        assert connection.goaway is not None
        assert connection.goaway.error_code == 0
    server.settled(2)
    assert server.stop() == 0


def serial(server: ServerProcess, trusted: Path) -> int:
    context = client_context(trusted)
    with (
        socket.create_connection(server.address, timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as wrapped,
    ):
        return hash(wrapped.getpeercert(binary_form=True))


def test_a_reload_brings_a_new_certificate_and_a_bad_one_is_refused(serve: Serve, tmp_path: Path) -> None:
    """Demand 28: rotate under the same names; a pair that does not fit keeps the old one in service."""
    for name in ("live", "next", "other"):
        (tmp_path / name).mkdir()
    live = make_certificate(tmp_path / "live")
    fresh = make_certificate(tmp_path / "next")
    _, foreign_key = make_certificate(tmp_path / "other")
    first = Path(shutil.copy(live[0], tmp_path / "first.pem"))
    server = tls_server(serve, live, "-w", "2")
    server.expect("reload", "(?i)ssl", "(?i)certificate", "Traceback", "Error")
    before = serial(server, first)

    kept_key = live[1].read_bytes()
    shutil.copy(foreign_key, live[1])
    assert server.command("reload", str(server.pid)).returncode == 1
    assert serial(server, first) == before

    live[1].write_bytes(kept_key)
    shutil.copy(fresh[0], live[0])
    shutil.copy(fresh[1], live[1])
    done = server.command("reload", str(server.pid))
    assert done.returncode == 0, done.stderr
    assert serial(server, fresh[0]) != before
    assert server.stop() == 0


def test_a_client_that_speaks_no_tls_harms_nothing(serve: Serve, certificate: tuple[Path, Path]) -> None:
    server = tls_server(serve, certificate, "-w", "1")
    with socket.create_connection(server.address, timeout=5) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        while plain.recv(4096):
            continue
    with pytest.raises(ssl.SSLError):
        get(server.address, tls=ssl.create_default_context())
    assert get(server.address, tls=client_context(certificate[0])).status == 200
    assert server.stop() == 0


def test_plain_and_tls_side_by_side(serve: Serve, certificate: tuple[Path, Path]) -> None:
    server = tls_server(serve, certificate, "-w", "1", "--insecure-bind", "127.0.0.1:0")
    by_scheme = {shown.partition(":")[0]: address_of(shown) for shown in server.status().addresses}
    assert set(by_scheme) == {"http", "https"}
    assert get(by_scheme["http"]).status == 200
    assert get(by_scheme["https"], tls=client_context(certificate[0])).status == 200
    assert server.stop() == 0
