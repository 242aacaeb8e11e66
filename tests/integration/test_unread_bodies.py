"""Uploads that nobody reads: real clients and proxies get their answer, and the next request gets its own.

A client must either read `Connection: close` or find the connection good for another request; all else is a loss.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.helpers.balancers import Balancer, free_port, haproxy, nginx
from tests.helpers.http import Connection, post
from tests.helpers.programs import program
from tests.helpers.serverproc import EVERY_SERVER, ServerProcess
from tests.helpers.tls import client_context, make_certificate

APP = """
import sys
from quart import abort, redirect, request
from aeros import WebServer

app = WebServer(__name__)
kind = sys.argv.pop(1)
if kind == "asgi":
    inner = app.asgi_app
    app.asgi_app = lambda scope, receive, send: inner(scope, receive, send)

@app.before_request
async def refuse():
    if request.path == "/refused":
        abort(401)

@app.post("/refused")
async def refused():
    return "never"

@app.post("/unread")
async def unread():
    return "unread"

@app.post("/fails")
async def fails():
    abort(500)

@app.post("/moved")
async def moved():
    return redirect("/next")

@app.post("/half")
async def half():
    async for part in request.body:
        return "half"

@app.post("/streams")
async def streams():
    async def pieces():
        yield b"a" * 1000
        yield b"b" * 1000
    return pieces()

@app.post("/reads")
async def reads():
    return str(len(await request.get_data()))

@app.get("/next")
async def next_():
    return {"port": request.scope["client"][1]}

app.start(sys.argv[1:])
"""

#: Each with the status that a POST of a megabyte gets.
PATHS = {
    "/unread": 200,
    "/nowhere": 404,
    "/next": 405,
    "/refused": 401,
    "/fails": 500,
    "/moved": 302,
    "/half": 200,
    "/streams": 200,
    "/reads": 200,
}
MEGABYTE = bytes(1_000_000)

pytestmark = pytest.mark.skipif(EVERY_SERVER.get("AEROS_HTTP") == "hypercorn", reason="Hypercorn's connections close")


def start(serve: Serve, kind: str, *args: str, bind: str = "127.0.0.1:0") -> ServerProcess:
    program_text = APP.replace("sys.argv.pop(1)", repr(kind))
    return serve(program_text, "-w", "1", *args, bind=bind).ready()


def chunks() -> Iterator[bytes]:
    for _ in range(100):
        yield bytes(10_000)


def losses(client: http.client.HTTPConnection, path: str, statuses: set[int], body: bytes | None) -> list[str]:
    """POST to the path and ask for /next behind it; return what went wrong. body: None for one in chunks."""
    lost = []
    for _ in range(5):
        try:
            client.request("POST", path, chunks() if body is None else body, encode_chunked=True)
            response = client.getresponse()
            response.read()
            if response.status not in statuses:
                lost.append(f"{path}: {response.status}")
            client.request("GET", "/next")
            answer = json.loads(client.getresponse().read())
            assert set(answer) == {"port"}
        except (http.client.HTTPException, OSError) as error:
            lost.append(f"{path}: {error!r}")
            client.close()
    return lost


@pytest.mark.parametrize("kind", ["quart", "asgi"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_connection_outlives_an_unread_body(serve: Serve, tmp_path: Path, kind: str, tls: bool) -> None:
    args: list[str] = []
    client: http.client.HTTPConnection
    if tls:
        certificate, key = make_certificate(tmp_path)
        args = ["--certfile", str(certificate), "--keyfile", str(key)]
    server = start(serve, kind, *args)
    assert not isinstance(server.address, str)
    host, port = server.address
    if tls:
        client = http.client.HTTPSConnection(host, port, timeout=20, context=client_context(certificate))
    else:
        client = http.client.HTTPConnection(host, port, timeout=20)
    lost = [
        one
        for path, status in PATHS.items()
        for body in (MEGABYTE, None)
        for one in losses(client, path, {status}, body)
    ]
    client.close()
    assert not lost, "\n".join(lost)


def test_a_chunked_body_of_any_length_is_read_to_its_end(serve: Serve) -> None:
    """Nobody knows how much of it is to come as the answer is made, so no end can be announced."""
    server = start(serve, "quart")
    with Connection(server.address, 60) as client:
        client.send(b"POST /unread HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n")
        part = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
        for _ in range(260):
            client.send(part)
        client.send(b"0\r\n\r\n" + client.head("GET", "/next"))
        assert client.read_answer().body == b"unread"
        assert client.read_answer().status == 200
    assert server.stop() == 0


@pytest.mark.parametrize("kind", ["quart", "asgi"])
def test_what_the_server_refuses_itself_loses_nothing(serve: Serve, kind: str) -> None:
    server = start(serve, kind, "--max-body-size", "500kb")
    assert not isinstance(server.address, str)
    client = http.client.HTTPConnection(*server.address, timeout=20)
    # A body in chunks is too large only when so much of it has come, and the 404 is quicker.
    lost = losses(client, "/nowhere", {413}, MEGABYTE) + losses(client, "/nowhere", {404, 413}, None)
    lost += losses(client, "/reads", {413}, MEGABYTE) + losses(client, "/reads", {413}, None)
    client.close()
    assert not lost, "\n".join(lost)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_slow_upload_gets_its_answer(serve: Serve, tmp_path: Path, tls: bool) -> None:
    """For longer than a fixed time of waiting would be: four seconds at 3 MB/s."""
    args: list[str] = []
    context: ssl.SSLContext | None = None
    if tls:
        certificate, key = make_certificate(tmp_path)
        args, context = ["--certfile", str(certificate), "--keyfile", str(key)], client_context(certificate)
    server = start(serve, "quart", *args)
    for path in ("/unread", "/fails"):
        with Connection(server.address, 20, context) as connection:
            connection.send(connection.head("POST", path, 12_000_000))
            for _ in range(40):
                connection.send(bytes(300_000))
                time.sleep(0.1)  # the client's rate is what is tested
            assert connection.read_answer().status == PATHS[path]


def reusing_haproxy(first: str, second: str) -> Balancer:
    return haproxy(first, second, changes={"option http-server-close": "http-reuse always"})


@pytest.mark.parametrize("balancer", [nginx, reusing_haproxy])
def test_proxies_that_keep_connections_lose_nothing(serve: Serve, balancer: Callable[[str, str], Balancer]) -> None:
    bind = f"127.0.0.1:{free_port()}"
    start(serve, "quart", "--keep-alive-timeout", "75s", bind=bind)
    with balancer(bind, bind) as front:
        for turn in range(6):
            for path, status in PATHS.items():
                assert post(front.address, path, MEGABYTE, 20).status == status, f"{path}, turn {turn}"


NODE = """
const http = require('http');
const agent = new http.Agent({keepAlive: true, maxSockets: 1});
const [host, port, times] = [process.argv[2], process.argv[3], +process.argv[4]];
let lost = 0;
function ask(method, path, body) {
  const headers = body ? {'content-length': body.length} : {};
  return new Promise(done => {
    const request = http.request({host, port, method, path, agent, headers}, response => {
      response.resume();
      response.on('end', done);
      response.on('error', error => { lost++; done(); });
    });
    request.on('error', error => { lost++; done(); });
    request.end(body);
  });
}
(async () => {
  for (let i = 0; i < times; i++) {
    await ask('POST', '/unread', Buffer.alloc(1000000));
    await ask('GET', '/next');
  }
  console.log(`lost ${lost}`);
  agent.destroy();
})();
"""


def test_node_keeps_its_connection(serve: Serve, tmp_path: Path) -> None:
    server = start(serve, "quart")
    script = tmp_path / "client.js"
    script.write_text(NODE)
    host, port = server.address
    argv = [program("node", "nodejs"), str(script), host, str(port), "30"]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "lost 0"


def test_a_client_that_does_not_wait_keeps_its_requests(serve: Serve) -> None:
    """It sends the next request right behind the body, before it has read the answer."""
    server = start(serve, "quart")
    with Connection(server.address, 20) as connection:
        upload = connection.head("POST", "/unread", len(MEGABYTE)) + MEGABYTE
        for _ in range(10):
            connection.send(upload + connection.head("GET", "/next"))
            assert connection.read_answer().text == "unread"
            assert set(connection.read_answer().json()) == {"port"}


def test_a_client_that_reads_only_at_the_end_gets_a_long_answer(serve: Serve) -> None:
    """And an answer that ends its connection is not destroyed by what the client still sends."""
    server = start(serve, "quart")
    with socket.create_connection(server.address, 20) as sock:
        sock.sendall(b"POST /unread HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 20000000\r\n\r\n")
        for _ in range(200):
            sock.sendall(bytes(100_000))
        received = b""
        while data := sock.recv(1 << 16):
            received += data
    assert received.startswith(b"HTTP/1.1 200") and received.endswith(b"unread")
