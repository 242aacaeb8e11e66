"""HTTP/3, where aioquic is installed: it is served, and after a reload and an upgrade by the new workers."""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path
from typing import Any

import pytest

from tests.apps import deploy
from tests.conftest import Serve
from tests.helpers.conditions import eventually
from tests.helpers.tls import make_certificate
from tests.integration.test_systemd import free_port
from tests.integration.test_upgrade import upgrade

pytest.importorskip("aioquic", reason="needs aioquic: pip install aeros[h3]")


def ask(port: int, timeout_s: float = 3.0) -> dict[str, Any]:
    """The JSON that a GET of / over a connection of its own is answered with; OSError where it is not."""
    found: dict[str, Any] = json.loads(exchange(port, "/", b"", timeout_s)[1])
    return found


def exchange(port: int, path: str, upload: bytes = b"", timeout_s: float = 3.0) -> tuple[int, bytes]:
    """The status and the body of an answer, over a connection of its own; OSError where there is none."""
    from aioquic.asyncio.client import connect
    from aioquic.asyncio.protocol import QuicConnectionProtocol
    from aioquic.h3.connection import H3_ALPN, H3Connection
    from aioquic.h3.events import DataReceived, HeadersReceived
    from aioquic.quic.configuration import QuicConfiguration

    class Client(QuicConnectionProtocol):
        def begin(self) -> None:
            self.http = H3Connection(self._quic)
            self.body = b""
            self.status = 0
            self.answered = asyncio.get_running_loop().create_future()
            method = "POST" if upload else "GET"
            head = {":method": method, ":scheme": "https", ":authority": "localhost", ":path": path}
            pairs = [(name.encode(), value.encode()) for name, value in head.items()]
            stream_id = self._quic.get_next_available_stream_id()
            self.http.send_headers(stream_id, pairs, end_stream=not upload)
            if upload:
                self.http.send_data(stream_id, upload, True)
            self.transmit()

        def quic_event_received(self, event: Any) -> None:
            for found in self.http.handle_event(event) if hasattr(self, "http") else ():
                if isinstance(found, DataReceived):
                    self.body += found.data
                if isinstance(found, HeadersReceived):
                    self.status = int(dict(found.headers)[b":status"])
                if isinstance(found, HeadersReceived | DataReceived) and found.stream_ended:
                    self.answered.set_result(self.body)

    async def answer() -> tuple[int, bytes]:
        configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_NONE)
        async with asyncio.timeout(timeout_s):
            async with connect("127.0.0.1", port, configuration=configuration, create_protocol=Client) as client:
                client.begin()
                await client.answered
                return client.status, client.body

    try:
        return asyncio.run(answer())
    except (TimeoutError, ConnectionError) as error:
        raise OSError(repr(error)) from error


def version(port: int) -> str:
    try:
        return str(ask(port)["version"])
    except OSError as error:
        return str(error)


def test_new_connections_meet_the_new_workers(serve: Serve, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    port = free_port()
    tls = ("--certfile", str(certificate), "--keyfile", str(key), "--quic-bind", f"127.0.0.1:{port}")
    server = serve("full", "-w", "1", *tls, bind=f"127.0.0.1:{port}").ready(1)
    eventually(lambda: version(port) == "v1", 20, "HTTP/3")
    deploy(tmp_path / "app.py", version="v2")
    server.handle().reload(timeout=30)
    eventually(lambda: version(port) == "v2", 20, "HTTP/3 after a reload")
    deploy(tmp_path / "app.py", version="v3")
    upgrade(server)
    eventually(lambda: version(port) == "v3", 20, "HTTP/3 after an upgrade")
    assert "the new program binds" not in server.log, "TCP and QUIC at one address are no change"
    assert server.stop() == 0


def test_several_workers_are_warned_of(serve: Serve, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    tls = ("--certfile", str(certificate), "--keyfile", str(key), "--quic-bind", "127.0.0.1:0")
    server = serve("full", "-w", "2", *tls).ready(2)
    server.expect("they share the UDP socket")
    assert server.log.count("they share the UDP socket") == 1
    assert server.stop() == 0


def test_uploads_that_nobody_reads_do_not_end_it(serve: Serve, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    port = free_port()
    tls = ("--certfile", str(certificate), "--keyfile", str(key), "--quic-bind", f"127.0.0.1:{port}")
    server = serve("full", "-w", "1", *tls, bind=f"127.0.0.1:{port}").ready(1)
    eventually(lambda: version(port) == "v1", 20, "HTTP/3")
    before = server.workers()[0].requests
    for _ in range(3):
        assert exchange(port, "/nowhere", bytes(500_000), 10)[0] == 404
        assert version(port) == "v1"
    eventually(lambda: server.workers()[0].requests >= before + 6, 5, "requests of HTTP/3 counted")
    assert server.stop() == 0


def test_what_fails_inside_ends_one_connection(serve: Serve, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    port = free_port()
    tls = ("--certfile", str(certificate), "--keyfile", str(key), "--quic-bind", f"127.0.0.1:{port}")
    server = serve(FAILING, "-w", "1", *tls, bind=f"127.0.0.1:{port}").ready(1)
    eventually(lambda: version(port) == "v1", 20, "HTTP/3")
    for _ in range(2):
        with pytest.raises(OSError):
            exchange(port, "/fails", b"", 2)
        assert version(port) == "v1"
    server.expect("a connection of HTTP/3 failed: RuntimeError: on purpose")
    server.expect("Traceback")
    assert server.stop() == 0


#: Hypercorn's and aioquic's own faults cannot be had at will: this puts one in their place, in its own process.
FAILING = """
import sys
from hypercorn.protocol.h3 import H3Protocol
from aeros import WebServer

app = WebServer(__name__)
create = H3Protocol._create_stream

async def failing(self, request):
    path = dict(request.headers)[b":path"]
    if path == b"/fails":
        raise RuntimeError("on purpose")
    await create(self, request)

H3Protocol._create_stream = failing

@app.get("/")
async def home():
    return {"version": "v1"}

app.start(sys.argv[1:])
"""
