"""HTTP/2 turned off: by --http2 off and by --alpn-protocols, in the clear and over TLS, on both paths."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.helpers.serverproc import ServerProcess
from tests.helpers.tls import client_context, make_certificate

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
)
GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
OFF = {"--http2": ["--http2", "off"], "--alpn-protocols": ["--alpn-protocols", "http/1.1"]}


def answer(server: ServerProcess, sent: bytes, context: ssl.SSLContext | None = None) -> tuple[bytes, str | None]:
    """Return the first of what comes back, and the protocol that ALPN chose."""
    assert not isinstance(server.address, str)
    with socket.create_connection(server.address, 10) as plain:
        line = context.wrap_socket(plain, server_hostname="localhost") if context is not None else plain
        with line:
            line.sendall(sent)
            chosen = line.selected_alpn_protocol() if isinstance(line, ssl.SSLSocket) else None
            return line.recv(1 << 16), chosen


@pytest.mark.parametrize("http", ["lane", "hypercorn"])
@pytest.mark.parametrize("how", OFF)
def test_in_the_clear(serve: Serve, http: str, how: str) -> None:
    server = serve("plain", "--http", http, *OFF[how]).ready()
    assert answer(server, PREFACE)[0].startswith(b"HTTP/1.1 400 ")
    assert answer(server, UPGRADE)[0].startswith(b"HTTP/1.1 200 ")
    assert answer(server, GET)[0].startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("http", ["lane", "hypercorn"])
def test_over_tls(serve: Serve, http: str, tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)
    tls = ["--certfile", str(cert), "--keyfile", str(key), "--http", http]
    both, old, none = (client_context(cert, *names) for names in (("h2", "http/1.1"), ("http/1.1",), ()))
    off = serve("plain", *tls, "--http2", "off").ready()
    assert answer(off, GET, both)[1] == "http/1.1"
    for context in (both, old, none):
        assert answer(off, PREFACE, context)[0].startswith(b"HTTP/1.1 400 ")
    on = serve("plain", *tls).ready()
    assert answer(on, PREFACE, both)[1] == "h2"
    # ALPN chose, and the preface of another protocol changes nothing about it.
    for context in (old, none):
        assert answer(on, PREFACE, context)[0].startswith(b"HTTP/1.1 400 ")


def test_it_is_on_without_a_word(serve: Serve) -> None:
    server = serve("plain").ready()
    assert answer(server, PREFACE)[0][3:4] == b"\x04"  # SETTINGS
