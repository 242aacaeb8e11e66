"""WebSockets of a whole server, by raw bytes, a client library and a browser; over TCP, TLS and a Unix socket."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from apps import QUART_FAILS
from websocket_cases import CASES, run_case, verdict
from websockets.sync.client import connect, unix_connect

from tests.conftest import Serve
from tests.helpers.chromium import browser
from tests.helpers.conditions import eventually
from tests.helpers.programs import program
from tests.helpers.tls import client_context, make_certificate

APP = """
import os, sys
from quart import websocket
from aeros import WebServer
app = WebServer(__name__)

@app.get("/")
async def home():
    return {"pid": os.getpid(), "generation": 1, "version": "v1"}

@app.websocket("/ws")
async def ws():
    while True:
        await websocket.send(await websocket.receive())

@app.websocket("/scope")
async def scope():
    await websocket.send_json([websocket.scheme, websocket.http_version, websocket.remote_addr])

app.start(sys.argv[1:])
"""


def test_the_short_cases(serve: Serve) -> None:
    # Hypercorn hands an empty message on so that Quart 0.23 makes None of it.
    server = serve(APP, "-w", "1", "--http", "lane").ready()
    assert not isinstance(server.address, str)
    port = server.address[1]
    before = server.status().workers[0]

    async def check() -> dict[str, str]:
        cases = [case for case in CASES if len(case.sent) < 100_000 and "beyond" not in case.name]
        cases = [case for case in cases if case.name not in QUART_FAILS]
        return {case.name: verdict(case, await run_case(case, port)) for case in cases}

    found = asyncio.run(check())
    assert len(found) > 290
    assert not {name: what for name, what in found.items() if what}

    eventually(lambda: not server.status().workers[0].websockets, 10.0)
    sent = sum(len(case.sent) for case in CASES if case.name in found)
    now = server.status().workers[0]
    assert sent * 0.9 < now.bytes_in - before.bytes_in < sent + 500 * len(found)


@pytest.mark.parametrize("compression", ["deflate", None])
def test_over_tls(serve: Serve, tmp_path: Path, compression: str | None) -> None:
    certificate, key = make_certificate(tmp_path)
    server = serve(APP, "-w", "1", "--certfile", str(certificate), "--keyfile", str(key)).ready()
    assert not isinstance(server.address, str)
    url = f"wss://localhost:{server.address[1]}"
    context = client_context(certificate)
    with connect(f"{url}/scope", ssl=context, proxy=None, compression=compression) as client:
        assert json.loads(client.recv(timeout=10)) == ["wss", "1.1", "127.0.0.1"]
    with connect(f"{url}/ws", ssl=context, proxy=None, compression=compression, max_size=None) as client:
        for message in ("a", b"\0\xff" * 1_000_000, "ü" * 300_000, ""):
            client.send(message)
            assert client.recv(timeout=10) == message


def test_over_a_unix_socket(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    server = serve(APP, "-w", "1", "-b", f"unix:{path}").ready()
    with unix_connect(str(path), uri="ws://localhost/ws") as client:
        client.send("over a file")
        assert client.recv(timeout=10) == "over a file"
    with unix_connect(str(path), uri="ws://localhost/scope") as client:
        assert '"ws"' in str(client.recv(timeout=10))
    assert server.status().totals.websockets == 2


SCRIPT = """
new Promise((done, failed) => {
    const told = [], socket = new WebSocket(URL);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
        for (const part of ["grüße".repeat(20000), new Uint8Array(300000).fill(7), ""]) socket.send(part);
    };
    socket.onmessage = event => {
        told.push(typeof event.data == "string" ? event.data.length : event.data.byteLength);
        if (told.length == 3) socket.close(4001, "enough");
    };
    socket.onclose = event => done([...told, event.code, event.reason, event.wasClean, socket.extensions]);
    socket.onerror = () => failed("error");
})
"""


def test_a_browser(serve: Serve) -> None:
    server = serve(APP, "-w", "1").ready()
    assert not isinstance(server.address, str)
    with browser(program("chromium")) as page:
        page.open(server.url)
        said = page.value(SCRIPT.replace("URL", f'"ws://127.0.0.1:{server.address[1]}/ws"'))
        assert said == [100_000, 300_000, 0, 4001, "enough", True, "permessage-deflate; client_max_window_bits=15"]
