"""Certificates replaced while the server runs, several names, client certificates: what clients see of it."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import time
from pathlib import Path

import pytest
from cryptography import x509

from aeros.worker.accept.tls import distinguished_name
from tests.conftest import Serve
from tests.helpers.authority import Authority, replace
from tests.helpers.conditions import eventually
from tests.helpers.h2client import H2Connection
from tests.helpers.http import Connection, ExchangeError, get
from tests.helpers.load import Client, KeepAliveGet, Load, NewConnectionGet
from tests.helpers.loops import EVERY_LOOP
from tests.helpers.serverproc import ServerProcess

HOSTS = ("localhost", "127.0.0.1")

SHOWS_TLS = """
from quart import request
from aeros import WebServer
app = WebServer(__name__)

@app.get("/")
async def home():
    return dict(request.scope["extensions"]["tls"])

if __name__ == "__main__":
    import sys
    app.start(sys.argv[1:])
"""


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def start(serve: Serve, app: str, pair: tuple[Path, Path], *args: str) -> ServerProcess:
    return serve(app, "--certfile", str(pair[0]), "--keyfile", str(pair[1]), *args).ready()


def serial_of(server: ServerProcess, authority: Authority, name: str = "localhost") -> int:
    with (
        socket.create_connection(server.address, timeout=5) as plain,
        authority.context().wrap_socket(plain, server_hostname=name) as wrapped,
    ):
        certificate = wrapped.getpeercert(binary_form=True)
        assert certificate is not None
        return x509.load_der_x509_certificate(certificate).serial_number


def clients(authority: Authority) -> list[type[Client]]:
    context = authority.context()

    class Fresh(NewConnectionGet):
        def connect(self) -> Connection:
            return Connection(self.address, self.timeout_s, context)

    class Kept(KeepAliveGet):
        def connect(self) -> Connection:
            return Connection(self.address, self.timeout_s, context)

    return [Fresh, Fresh, Kept]


def break_pair(kind: str, pair: tuple[Path, Path], authority: Authority) -> None:
    """Leave the files in a state in which they cannot be used."""
    certificate, key, _ = authority.issue(*HOSTS)
    if kind == "mismatch":
        replace(pair[1], key)
    elif kind == "garbage":
        replace(pair[0], os.urandom(900))
    elif kind == "half":
        pair[0].write_bytes(certificate[: len(certificate) // 2])
    elif kind == "missing":
        pair[0].unlink()
    else:
        certificate, key, _ = authority.issue(*HOSTS, days=-1)
        replace(pair[0], certificate)
        replace(pair[1], key)


@pytest.mark.limit_s(120)
@pytest.mark.parametrize("rotations", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_rotations_under_load_fail_no_request(serve: Serve, authority: Authority, rotations: int) -> None:
    """Broken pairs among them are refused with one warning each; a good one is served within 2 s."""
    pair = authority.pair("live", *HOSTS)
    server = start(serve, "full", pair, "-w", "2", "--keep-alive", "100")
    server.expect("TLS files have changed but are not taken")
    took = []
    h2 = H2Connection(server.address, authority.context("h2"))
    broken = ["mismatch", "garbage", "half", "missing", "expired"]
    with h2, Load(server.address, clients(authority), pause_s=0.01) as tally:
        pid = h2.get("/").json()["pid"]
        for turn in range(rotations):
            if turn % 4 == 3:
                before = serial_of(server, authority)
                refused = server.log.count("are not taken")
                break_pair(broken[turn // 4], pair, authority)
                server.wait_log("are not taken", 8, count=refused + 1)
                assert serial_of(server, authority) == before
            certificate, key, serial = authority.issue(*HOSTS)
            replace(pair[0], certificate)
            replace(pair[1], key)
            begun = time.monotonic()
            # Each worker has been told, so ask often enough to have met both.
            eventually(lambda s=serial: all(serial_of(server, authority) == s for _ in range(6)), 8)
            took.append(time.monotonic() - begun)
        assert h2.get("/").json()["pid"] == pid  # the first connection lives on
    tally.assert_nothing_failed(at_least=rotations * 10)
    assert max(took) < 2.0, took
    assert server.log.count("are not taken") == rotations // 4
    assert server.status().generation == 1
    assert server.stop() == 0


def test_a_reload_reads_the_files_where_they_are_not_watched(serve: Serve, authority: Authority) -> None:
    pair = authority.pair("live", *HOSTS)
    server = start(serve, "full", pair, "-w", "1", "--tls-watch", "off")
    certificate, key, serial = authority.issue(*HOSTS)
    before = serial_of(server, authority)
    replace(pair[0], certificate)
    replace(pair[1], key)
    time.sleep(1.5)  # a watcher would have seen it by now
    assert serial_of(server, authority) == before
    server.send_signal(signal.SIGHUP)
    server.settled(2)
    assert serial_of(server, authority) == serial
    assert server.stop() == 0


def test_each_name_gets_its_certificate(serve: Serve, authority: Authority) -> None:
    main = authority.pair("main", *HOSTS)
    exact = authority.pair("exact", "www.example.com")
    wild = authority.pair("wild", "*.example.org")
    entries = [f"{name}={pair[0]}:{pair[1]}" for name, pair in (("WWW.example.com", exact), ("*.example.org", wild))]
    server = start(serve, "full", main, "-w", "1", "--sni", entries[0], "--sni", entries[1])

    def serial_in(path: Path) -> int:
        return x509.load_pem_x509_certificate(path.read_bytes()).serial_number

    assert serial_of(server, authority) == serial_in(main[0])
    assert serial_of(server, authority, "www.example.com") == serial_in(exact[0])
    assert serial_of(server, authority, "a.example.org") == serial_in(wild[0])
    with pytest.raises(ssl.SSLCertVerificationError):
        serial_of(server, authority, "a.b.example.org")  # a wildcard is for one level
    authority.pair("exact", "www.example.com")
    eventually(lambda: serial_of(server, authority, "www.example.com") == serial_in(exact[0]), 5)
    with H2Connection(server.address, authority.context("h2")) as connection:
        assert connection.get("/").status == 200
    assert server.stop() == 0


@EVERY_LOOP
def test_a_client_certificate_reaches_the_app(serve: Serve, authority: Authority, loop: str) -> None:
    pair = authority.pair("live", *HOSTS)
    alice = authority.pair("alice", common_name="alice")
    server = start(
        serve, SHOWS_TLS, pair, "-w", "1", "-k", loop,
        "--ca-certs", str(authority.certificate), "--verify-mode", "CERT_REQUIRED",
        "--access-logfile", "-", "--access-logformat", "by %(tls)s",
    )  # fmt: skip
    told = get(server.address, tls=authority.context(client=alice)).json()
    assert told["client_cert_name"] == "CN=alice,O=Example\\, Inc."
    assert told["client_cert_chain"] == [alice[0].read_text()]
    assert told["tls_version"] == 0x0304
    assert told["cipher_suite"] in (0x1301, 0x1302, 0x1303)
    with H2Connection(server.address, authority.context("h2", client=alice)) as connection:
        assert json.loads(connection.get("/").body) == told
    with pytest.raises((OSError, ExchangeError)):  # TLS 1.3: refused after the handshake, so at the first answer
        get(server.address, tls=authority.context())
    assert server.stop() == 0
    assert server.stdout.count("by CN=alice,O=Example\\x5c, Inc.") == 2


def test_a_distinguished_name_is_escaped() -> None:
    subject = ((("countryName", "DE"),), (("organizationName", "#A+B"), ("userId", " x ")), (("commonName", "a,b"),))
    assert distinguished_name(subject) == "CN=a\\,b,O=\\#A\\+B+UID=\\ x\\ ,C=DE"


def test_a_bad_pair_is_told_at_the_start(serve: Serve, authority: Authority) -> None:
    main, other = authority.pair("main", *HOSTS), authority.pair("other", "www.example.com")
    server = serve(
        "full", "--certfile", str(main[0]), "--keyfile", str(main[1]), "--sni", f"x.example={other[0]}:{main[1]}"
    )
    assert server.wait_exit() == 4
    assert f"certificate {other[0]} with key {main[1]}: the key does not belong to the certificate" in server.log
