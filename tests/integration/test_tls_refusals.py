"""TLS handshakes that fail: the client is told why, and so are the log, the status and the metrics."""

from __future__ import annotations

import datetime
import socket
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from tests.conftest import Serve
from tests.helpers.authority import Authority, replace
from tests.helpers.conditions import eventually
from tests.helpers.http import Address, get
from tests.helpers.loops import EVERY_LOOP
from tests.helpers.serverproc import ServerProcess

VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


class Clients:
    """A server that wants certificates, and clients whose certificates are refused."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder)
        (folder / "other").mkdir()
        self.other = Authority(folder / "other")
        self.pair = self.authority.pair("server", "localhost", "127.0.0.1")
        self.bundle = folder / "bundle.pem"
        revoked, key, serial = self.authority.issue("carol")
        self.carol = self._files("carol", revoked, key)
        self.bundle.write_bytes(self.authority.certificate.read_bytes() + self._revocations(serial))

    def certificate(self, kind: str) -> tuple[Path, Path] | None:
        match kind:
            case "none":
                return None
            case "other":
                return self.other.pair("mallory", "mallory")
            case "expired":
                certificate, key, _ = self.authority.issue("bob", days=-1)
                return self._files("bob", certificate, key)
            case "revoked":
                return self.carol
        return self.authority.pair("alice", "alice")

    def _files(self, name: str, certificate: bytes, key: bytes) -> tuple[Path, Path]:
        paths = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        for path, data in zip(paths, (certificate, key), strict=True):
            replace(path, data)
        return paths

    def _revocations(self, serial: int) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.authority._key.public_key())
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.authority._name)
            .last_update(now - datetime.timedelta(days=1))
            .next_update(now + datetime.timedelta(days=1))
            .add_extension(signer, critical=False)
            .add_extension(x509.CRLNumber(1), critical=False)
            .add_revoked_certificate(revoked)
        )
        signed = builder.sign(self.authority._key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)

    def start(self, serve: Serve, *args: str) -> ServerProcess:
        certificate, key = map(str, self.pair)
        server = serve("full", "-w", "1", "--certfile", certificate, "--keyfile", key, "--ca-certs", str(self.bundle),
                       "--verify-mode", "CERT_REQUIRED", *args)  # fmt: skip
        return server.ready()


@pytest.fixture
def clients(tmp_path: Path) -> Clients:
    return Clients(tmp_path)


def answer_of(address: Address, context: ssl.SSLContext) -> bytes:
    """Ask as a client does that sends its request right behind its part of the handshake. Raises SSLError."""
    with (
        socket.create_connection(address, timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        secure.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        return secure.recv(65536)


@EVERY_LOOP
@VERSIONS
def test_a_refused_client_gets_an_alert(serve: Serve, clients: Clients, loop: str, version: ssl.TLSVersion) -> None:
    server = clients.start(serve, "-k", loop, "--verify-flags", "VERIFY_CRL_CHECK_LEAF")
    alerts = {"none": "CERTIFICATE_REQUIRED", "other": "UNKNOWN_CA", "expired": "CERTIFICATE_EXPIRED",
              "revoked": "CERTIFICATE_REVOKED"}  # fmt: skip
    if version == ssl.TLSVersion.TLSv1_2:  # RFC 8446 6.2: certificate_required is new in 1.3
        alerts["none"] = "HANDSHAKE_FAILURE"
    for kind, alert in alerts.items():
        context = clients.authority.context(client=clients.certificate(kind))
        context.minimum_version = context.maximum_version = version
        with pytest.raises(ssl.SSLError) as refused:
            answer_of(server.address, context)
        assert alert in str(refused.value.reason), kind
    for said in ("sent no certificate", "unable to get", "has expired", "certificate revoked"):
        server.wait_log(rf"TLS handshake with 127\.0\.0\.1:\d+ failed: .*{said}")
    good = clients.authority.context(client=clients.certificate("good"))
    assert get(server.address, tls=good).status == 200
    assert server.status().totals.handshakes_failed == 4
    assert server.stop() == 0


@EVERY_LOOP
def test_a_storm_of_failures_is_counted_and_said_once(serve: Serve, clients: Clients, loop: str) -> None:
    server = clients.start(serve, "-k", loop)
    context = clients.authority.context()
    for _ in range(30):
        with pytest.raises(ssl.SSLError):
            answer_of(server.address, context)
    eventually(lambda: server.status().totals.handshakes_failed == 30, 10)
    assert 1 <= server.log.count("sent no certificate") <= 3
    # Who only looks whether the port is open has begun no handshake.
    socket.create_connection(server.address, timeout=5).close()
    # Not TLS at all; and one that leaves half-way.
    with socket.create_connection(server.address, timeout=5) as odd:
        odd.sendall(b"\x16\x03\x01\x02\x00\x01")
    eventually(lambda: server.status().totals.handshakes_failed == 31, 10)
    server.wait_log("failed: the client left before it was done")
    assert server.stop() == 0


@EVERY_LOOP
def test_plain_http_at_the_tls_port_is_told_so(serve: Serve, clients: Clients, loop: str) -> None:
    server = clients.start(serve, "-k", loop)
    for method in ("GET", "POST", "DELETE", "OPTIONS"):
        with socket.create_connection(server.address, timeout=10) as plain:
            plain.sendall(f"{method} /x HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            answer = b""
            while data := plain.recv(65536):
                answer += data
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n"), method
        assert b"speaks HTTPS" in answer, method
    server.wait_log("failed: the client speaks plain HTTP")
    assert server.stop() == 0


@pytest.mark.skipif(not ssl.create_default_context().verify_flags & ssl.VERIFY_X509_STRICT, reason="since Python 3.13")
def test_a_certificate_that_python_refuses_as_not_strict_is_named_so(serve: Serve, clients: Clients) -> None:
    """A private authority's without Authority Key Identifier."""
    server = clients.start(serve)
    bare = clients.authority.bare("dave")
    with pytest.raises(ssl.SSLError):
        answer_of(server.address, clients.authority.context(client=bare))
    server.wait_log(r"Missing Authority Key Identifier.*VERIFY_X509_STRICT.*--verify-flags")
    assert server.stop() == 0
    # What the line advises helps.
    server = clients.start(serve, "--verify-flags", "VERIFY_X509_TRUSTED_FIRST")
    assert answer_of(server.address, clients.authority.context(client=bare)).startswith(b"HTTP/1.1 200")
    assert server.stop() == 0
