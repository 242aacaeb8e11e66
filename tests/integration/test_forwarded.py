"""Requests through proxies, as the app sees them: forwarding headers and the PROXY protocol, over every protocol."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import time
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.conftest import Serve
from tests.helpers.conditions import eventually
from tests.helpers.h2client import H2Connection
from tests.helpers.http import Connection, ExchangeError, get
from tests.helpers.serverproc import ServerProcess
from tests.helpers.tls import client_context, make_certificate

FORWARDED = {
    "x-forwarded-for": "6.6.6.6, 192.0.2.1",
    "x-forwarded-proto": "https",
    "x-forwarded-host": "example.org",
    "x-forwarded-port": "8443",
    "x-forwarded-prefix": "/mounted",
}
EITHER = pytest.mark.parametrize("http", ["lane", "hypercorn"])
V1 = b"PROXY TCP4 192.0.2.7 192.0.2.8 4711 443\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x21" + struct.pack("!H", 36 + 5)
V2 += socket.inet_pton(socket.AF_INET6, "2001:db8::7") + socket.inet_pton(socket.AF_INET6, "2001:db8::8")
V2 += struct.pack("!HH", 4711, 443) + b"\x04\0\x02ab"
LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"


def ask(server: ServerProcess, path: str = "/seen", **headers: str) -> dict[str, object]:
    with Connection(server.address) as connection:
        answer = connection.request("GET", path, headers={key.replace("_", "-"): text for key, text in headers.items()})
    assert answer.status == 200, answer
    return answer.json()


def announced(server: ServerProcess, header: bytes, tls: ssl.SSLContext | None = None) -> Connection:
    connection = Connection(server.address)
    connection.socket.sendall(header)
    if tls is not None:
        connection.socket = tls.wrap_socket(connection.socket, server_hostname="localhost")
    return connection


@EITHER
def test_a_trusted_proxy_is_believed(serve: Serve, tmp_path: Path, http: str) -> None:
    log = tmp_path / "access.log"
    args = ["-w", "1", "--http", http, "--forwarded-allow", "127.0.0.1", "--access-logfile", str(log)]
    server = serve("proxied", *args).ready(1)
    with Connection(server.address) as connection:  # requests of different clients on one connection
        seen = connection.request("GET", "/seen", headers=FORWARDED).json()
        other = connection.request("GET", "/seen", headers={"x-forwarded-for": "192.0.2.2"}).json()
        own = connection.request("GET", "/seen").json()
    assert (seen["client"], seen["scheme"], seen["host"]) == ("192.0.2.1", "https", "example.org:8443")
    assert (seen["root"], seen["path"]) == ("/mounted", "/seen")
    assert seen["url"] == "https://example.org:8443/mounted/seen"
    assert (other["client"], other["scheme"], other["root"]) == ("192.0.2.2", "http", "")
    assert (own["client"], own["host"]) == ("127.0.0.1", "localhost")
    eventually(lambda: log.read_text().count("\n") >= 3, 5, "three lines of access log")
    for line, client in zip(log.read_text().splitlines(), ["192.0.2.1:", "192.0.2.2:", "127.0.0.1:"], strict=True):
        assert client in line


@EITHER
def test_anybody_else_is_not(serve: Serve, http: str) -> None:
    server = serve("proxied", "--http", http, "--forwarded-allow", "10.0.0.0/8,unix").ready(1)
    seen = ask(server, **FORWARDED, forwarded="for=6.6.6.6")
    assert (seen["client"], seen["scheme"], seen["host"], seen["root"]) == ("127.0.0.1", "http", "localhost", "")
    assert not any("forwarded" in name for name in seen["headers"])


def test_without_the_option_the_headers_are_the_apps_affair(serve: Serve) -> None:
    seen = ask(serve("proxied").ready(1), **FORWARDED)
    assert (seen["client"], seen["host"]) == ("127.0.0.1", "localhost")
    assert seen["headers"]["x-forwarded-for"] == "6.6.6.6, 192.0.2.1"


def test_the_standard_header(serve: Serve) -> None:
    server = serve("proxied", "--forwarded-allow", "*", "--forwarded-header", "forwarded").ready(1)
    seen = ask(server, forwarded='for="[2001:db8::5]:99";proto=https;host=example.org', x_forwarded_for="6.6.6.6")
    assert (seen["client"], seen["scheme"], seen["host"]) == ("2001:db8::5", "https", "example.org")


def test_a_websocket_and_http_2(serve: Serve, tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)
    args = ["--certfile", str(cert), "--keyfile", str(key), "--forwarded-allow", "127.0.0.1"]
    server = serve("proxied", "-w", "1", *args, "--insecure-bind", "127.0.0.1:0").ready(1)
    plain = next(address for address in server.status().addresses if address.startswith("http:"))
    host, port = plain.removeprefix("http://").split(":")
    with connect(f"ws://{host}:{port}/ws", additional_headers=FORWARDED, proxy=None) as websocket:
        seen = json.loads(websocket.recv())
    assert (seen["client"], seen["scheme"], seen["host"]) == ("192.0.2.1", "wss", "example.org:8443")
    assert seen["root"] == "/mounted"
    with H2Connection(server.address, client_context(cert, "h2")) as connection:
        stream = connection.begin("/seen", list(FORWARDED.items()))
        seen = connection.finish(stream).json()
    assert (seen["http"], seen["client"], seen["host"]) == ("2", "192.0.2.1", "example.org:8443")


@EITHER
@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
def test_the_proxy_protocol_says_who_connects(serve: Serve, http: str, header: bytes) -> None:
    server = serve("proxied", "-w", "1", "--http", http, "--proxy-protocol", "127.0.0.1").ready(1)
    wanted = "192.0.2.7" if header == V1 else "2001:db8::7"
    with announced(server, header) as connection:
        for _ in range(2):
            assert connection.request("GET", "/seen").json()["client"] == wanted
    with announced(server, LOCAL) as connection:
        assert connection.request("GET", "/seen").json()["client"] == "127.0.0.1"


@EITHER
def test_ahead_of_tls_for_http_1_and_2_and_websockets(serve: Serve, tmp_path: Path, http: str) -> None:
    cert, key = make_certificate(tmp_path)
    args = ["--certfile", str(cert), "--keyfile", str(key), "--proxy-protocol", "127.0.0.0/8", "--http", http]
    server = serve("proxied", "-w", "1", *args).ready(1)
    with announced(server, V1, client_context(cert, "http/1.1")) as connection:
        assert connection.request("GET", "/seen").json()["client"] == "192.0.2.7"
    raw = announced(server, V2).socket
    secured = client_context(cert, "http/1.1").wrap_socket(raw, server_hostname="localhost")
    with connect("ws://localhost/ws", sock=secured, proxy=None) as websocket:
        assert json.loads(websocket.recv())["client"] == "2001:db8::7"
    with H2Connection(server.address, client_context(cert, "h2"), ahead=V2) as connection:
        seen = connection.get("/seen").json()
    assert (seen["http"], seen["client"]) == ("2", "2001:db8::7")


def test_without_its_header_a_balancers_connection_is_closed(serve: Serve) -> None:
    server = serve("proxied", "-w", "1", "--proxy-protocol", "127.0.0.1").ready(1)
    with pytest.raises(ExchangeError):
        get(server.address, "/seen")
    server.wait_log("closed a connection without a PROXY header")
    with announced(server, V1[:20]) as half, announced(server, V1) as whole:  # one that dawdles holds up nobody
        assert whole.request("GET", "/seen").status == 200
        begun = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begun < 10
        assert half.idle_closed()


def test_others_are_served_without_and_cannot_use_it(serve: Serve) -> None:
    server = serve("proxied", "--proxy-protocol", "10.0.0.0/8").ready(1)
    assert ask(server)["client"] == "127.0.0.1"
    with announced(server, V1) as connection:
        connection.send(connection.head("GET", "/seen"))
        assert connection.read_answer().status == 400


def test_the_announced_client_is_whom_forwarded_allow_is_asked_about(serve: Serve) -> None:
    server = serve("proxied", "--proxy-protocol", "127.0.0.1", "--forwarded-allow", "192.0.2.7").ready(1)
    with announced(server, V1) as proxy, announced(server, V2) as other:
        assert proxy.request("GET", "/seen", headers={"x-forwarded-for": "192.0.2.99"}).json()["client"] == "192.0.2.99"
        assert other.request("GET", "/seen", headers={"x-forwarded-for": "6.6.6.6"}).json()["client"] == "2001:db8::7"


def test_on_a_unix_socket(serve: Serve, tmp_path: Path) -> None:
    path = f"/tmp/aeros-{tmp_path.name[-20:]}-{time.monotonic_ns()}.sock"
    server = serve("proxied", "--forwarded-allow", "unix", bind=f"unix:{path}").ready(1)
    assert ask(server, **FORWARDED)["client"] == "192.0.2.1"
