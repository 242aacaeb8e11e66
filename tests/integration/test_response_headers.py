"""Line breaks and NUL in what an app puts into a response never reach the wire, whichever way it travels."""

from __future__ import annotations

import re
import socket
from urllib.parse import quote

import h2.config
import h2.connection
import h2.events
import pytest

from tests.conftest import Serve
from tests.helpers.http import Address

ASGI = """
import sys
from urllib.parse import parse_qs
from aeros import WebServer

quart = WebServer(__name__)

async def serve(scope, receive, send):
    if scope["type"] != "http":
        return await plain(scope, receive, send)
    said = parse_qs(scope["query_string"].decode(), True, encoding="latin1")
    name, value = said["name"][0].encode("latin1"), said["value"][0].encode("latin1")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4"), (name, value)]})
    await send({"type": "http.response.body", "body": b"done"})

plain = quart.asgi_app
quart.asgi_app = serve
quart.start(sys.argv[1:])
"""

QUART = """
import sys
from urllib.parse import parse_qs
from quart import Response, redirect, request
from aeros import WebServer

app = WebServer(__name__)

@app.get("/")
async def home():
    said = parse_qs(request.query_string.decode(), True, encoding="latin1")
    response = Response("done")
    # Werkzeug's own methods refuse some of it; extensions write here.
    response.headers._list.append((said["name"][0], said["value"][0]))
    return response

@app.get("/set")
async def setting():
    response = Response("done")
    response.headers[request.args["name"]] = request.args["value"]
    return response

@app.get("/cookie")
async def cookie():
    response = Response("done")
    response.set_cookie("name", request.args["value"], path=request.args["value"])
    return response

@app.get("/redirect")
async def redirected():
    return redirect(request.args["value"])

@app.get("/status")
async def status():
    return Response("done", status="200 " + request.args["value"])

@app.get("/type")
async def typed():
    return Response("done", content_type=request.args["value"])

app.start(sys.argv[1:])
"""

LINE = "\r\ninjected: yes"
BREAKS = (
    *(LINE, "\ninjected: yes", "\rinjected: yes", "\r\n\r\n<html>injected"),
    *("\0injected: yes", "\x0binjected: yes"),
)
VALUES = tuple(("x-name", "value" + text) for text in BREAKS)
NAMES = (
    *(("x-name" + text.replace(" ", ""), "value") for text in BREAKS),
    *(("x name", "value"), ("x-name:", "value"), ("x-name\t", "a" + LINE), ("", "value")),
    *(("content-length", "4" + LINE), ("transfer-encoding", "chunked" + LINE), ("connection", "close" + LINE)),
    *(
        ("location", "/" + LINE),
        ("set-cookie", "a=b" + LINE),
        ("link", "</x>; rel=preload" + LINE),
        ("trailer", "a" + LINE),
    ),
)
INJECTED = re.compile(rb"[\r\n\0\x0b\x0c]\s*(?:injected|<html>)", re.IGNORECASE)


def over_http1(address: Address, path: str) -> tuple[int, bytes]:
    """(status, all that came); 0 where nothing came."""
    assert not isinstance(address, str)
    with socket.create_connection(address, 10) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        received = b""
        while data := sock.recv(1 << 16):
            received += data
    found = re.match(rb"HTTP/1\.1 (\d\d\d) ", received)
    return (int(found[1]) if found else 0), received


def over_http2(address: Address, path: str) -> tuple[int, bytes]:
    """(status, its headers as lines); 0 where the stream was reset."""
    assert not isinstance(address, str)
    # Nothing is checked here that a careless client would not.
    config = h2.config.H2Configuration(validate_inbound_headers=False, normalize_inbound_headers=False)
    client = h2.connection.H2Connection(config)
    client.initiate_connection()
    client.send_headers(1, [(":method", "GET"), (":path", path), (":scheme", "http"), (":authority", "a")], True)
    with socket.create_connection(address, 10) as sock:
        sock.sendall(client.data_to_send())
        status, lines = 0, b""
        while data := sock.recv(1 << 16):
            for event in client.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    fields = [(bytes(name), bytes(value)) for name, value in event.headers or []]
                    status = int(dict(fields)[b":status"])
                    lines = b"\r\n".join(name + b": " + value for name, value in fields)
                elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset, h2.events.ConnectionTerminated)):
                    return status, lines
            sock.sendall(client.data_to_send())
    return status, lines


@pytest.mark.parametrize("args", [(), ("--http", "hypercorn")], ids=["lane", "hypercorn"])
@pytest.mark.parametrize("app", ["asgi", "quart"])
def test_no_line_break_reaches_the_wire(serve: Serve, app: str, args: tuple[str, ...]) -> None:
    server = serve(ASGI if app == "asgi" else QUART, "-w", "1", *args).ready()
    server.expect("Error in ASGI Framework", "Exception on request", "Error in a connection", "Traceback", "ERROR")
    asked = [(f"/?name={quote(name)}&value={quote(value)}", (name, value)) for name, value in VALUES + NAMES]
    if app == "quart":
        for path in ("set", "cookie", "redirect", "status", "type"):
            asked += [(f"/{path}?name=x-name&value={quote('/v' + text)}", (path, text)) for text in BREAKS]
    wrong = []
    for ask in (over_http1, over_http2):
        for path, what in asked:
            status, received = ask(server.address, path)
            if status not in (200, 302, 500) or INJECTED.search(received):
                wrong.append(f"{ask.__name__}: {what!r}: {status} {received!r}")
    assert not wrong, "\n".join(wrong)
    assert "the response header b'x-name' contains a line break" in server.log or "--http" in args
