"""Ticket keys made of one secret: contexts that share it resume each other's sessions, others do not."""

from __future__ import annotations

import json
import ssl
from pathlib import Path

import pytest
from hypercorn.config import Config

from aeros.core.log.lines import LineLog
from aeros.core.net.certificates import Pair, TLSFiles, load, ticket_secret, with_ticket_secret
from aeros.core.net.tickets import Secret, can_share, share_tickets
from aeros.supervisor.sockets.certificates import Certificates
from aeros.supervisor.system.system import System
from aeros.worker.accept.tls import make_context
from tests.helpers.tls import make_certificate

pytestmark = pytest.mark.skipif(not can_share(), reason="this Python hides OpenSSL")


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return make_certificate(tmp_path)


def server(pair: tuple[Path, Path], secret: bytes, *facts: object) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    assert share_tickets(context, secret, *facts)
    return context


def client(version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = version
    return context


def connect(
    ours: ssl.SSLContext, theirs: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> tuple[ssl.SSLSession, bool]:
    """The client's session after a handshake in memory, and whether it was resumed."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = ours.wrap_bio(to_client, to_server, session=session)
    other = theirs.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for end in (one, other):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
    other.write(b"x")  # tickets of TLS 1.3 come behind the handshake
    assert one.read(1) == b"x"
    assert one.session is not None
    return one.session, bool(one.session_reused)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_is_resumed_by_who_has_the_same_secret_and_facts(
    pair: tuple[Path, Path], version: ssl.TLSVersion
) -> None:
    ours = client(version)
    session, resumed = connect(ours, server(pair, b"a" * 32, "ca", 1))
    assert not resumed
    assert connect(ours, server(pair, b"a" * 32, "ca", 1), session)[1]
    assert not connect(ours, server(pair, b"b" * 32, "ca", 1), session)[1], "another secret"
    assert not connect(ours, server(pair, b"a" * 32, "ca", 2), session)[1], "other facts"


def made(pair: tuple[Path, Path], **options: object) -> ssl.SSLContext:
    config = Config()
    config.certfile, config.keyfile = str(pair[0]), str(pair[1])
    ca = str(options.pop("ca", ""))
    for name, value in options.items():
        setattr(config, name, value)
    pairs = [{"name": "", "cert": pair[0].read_text(), "key": pair[1].read_text()}]
    record = with_ticket_secret(json.dumps({"pairs": pairs, "ca": ca, "password": None}).encode(), b"s" * 32)
    context = make_context(config, record)
    assert context is not None
    return context


def test_a_ticket_is_worth_no_more_than_the_handshake_it_stands_for(pair: tuple[Path, Path]) -> None:
    ours = client(ssl.TLSVersion.TLSv1_3)
    session, _ = connect(ours, made(pair))
    assert connect(ours, made(pair), session)[1]
    authority = pair[0].read_text()
    asks = made(pair, ca=authority, verify_mode=ssl.VerifyMode.CERT_OPTIONAL)
    assert not connect(ours, asks, session)[1], "it asks for a certificate, which the session never showed"
    session, _ = connect(ours, asks)
    stricter = made(
        pair, ca=authority, verify_mode=ssl.VerifyMode.CERT_OPTIONAL, verify_flags=ssl.VerifyFlags.VERIFY_X509_STRICT
    )
    assert not connect(ours, stricter, session)[1]
    assert not connect(ours, made(pair, ca=authority * 2, verify_mode=ssl.VerifyMode.CERT_OPTIONAL), session)[1]


def test_a_successor_goes_on_with_the_secret_for_the_rest_of_its_time() -> None:
    secret = Secret.new(100.0)
    heir = Secret.inherited(secret.bequest(1000.0), 5.0)
    assert heir.value == secret.value
    assert heir.until - 5.0 == secret.until - 1000.0
    for odd in (
        None,
        {},
        {"secret": "zz", "left_s": 1},
        {"secret": "00", "left_s": 1},
        {"secret": "00" * 32, "left_s": 1e9},
    ):
        assert Secret.inherited(odd, 5.0).value not in (secret.value, bytes(32))


def test_secrets_are_replaced_in_time(pair: tuple[Path, Path]) -> None:
    log = LineLog("")
    certificates = Certificates(log, System())
    files = TLSFiles(pairs=(Pair("", str(pair[0]), str(pair[1])),), ca_certs=None, password=None, watch=False)
    certificates.take(1, files)
    first = ticket_secret(load(certificates.fd_of(1) or -1))
    assert len(first) == 32
    assert not certificates.look(certificates.secret.until - 1, 1, {1})
    assert certificates.look(certificates.secret.until, 1, {1}), "the workers need the new one"
    assert ticket_secret(load(certificates.fd_of(1) or -1)) not in (b"", first)
    assert not certificates.look(certificates.secret.until - 1, 1, {1})
