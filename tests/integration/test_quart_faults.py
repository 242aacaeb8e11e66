"""Faults of Quart's that users would take for ours: ranges, preconditions, and how a failed WebSocket closes."""

from __future__ import annotations

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.conftest import Serve
from tests.helpers.http import get
from tests.helpers.serverproc import ServerProcess

APP = """
import io, sys
from pathlib import Path
from quart import Response, abort, request, send_file, websocket
from aeros import WebServer

app = WebServer(__name__)
text = b"0123456789" * 10
Path("text").write_bytes(text)

@app.get("/file")
async def file():
    return await send_file("text", mimetype="text/plain", conditional=True)

@app.get("/memory")
async def memory():
    return await send_file(io.BytesIO(text), mimetype="text/plain", conditional=True)

@app.get("/bytes")
async def bytes_():
    return await Response(text).make_conditional(request, accept_ranges=True, complete_length=100)

@app.get("/pieces")
async def pieces():
    async def each():
        yield text[:50]
        yield text[50:]
    return await Response(each()).make_conditional(request, accept_ranges=True, complete_length=100)

@app.get("/etag")
async def etag():
    response = Response(text)
    response.set_etag("x")
    return await response.make_conditional(request, accept_ranges=True, complete_length=100)

@app.websocket("/<how>")
async def ends(how):
    await websocket.accept()
    await websocket.receive()
    if how == "raises":
        raise RuntimeError("on purpose")
    if how == "aborts":
        abort(503)
    if how == "closes":
        await websocket.close(1000)

app.start(sys.argv[1:])
"""
WHOLE = (200, None, b"0123456789" * 10)
NOT_THERE = (416, "bytes */100", None)
RANGES = {
    "bytes=0-4": (206, "bytes 0-4/100", b"01234"),
    "bytes=-3": (206, "bytes 97-99/100", b"789"),
    "bytes=-500": (206, "bytes 0-99/100", b"0123456789" * 10),
    "bytes=97-": (206, "bytes 97-99/100", b"789"),
    "bytes=0-1,5-6": WHOLE,
    "bytes=-1,0-1": WHOLE,
    "lines=1-2": WHOLE,
    "bytes=100-": NOT_THERE,
    "bytes=-0": NOT_THERE,
}


def asked(server: ServerProcess, path: str, name: str, value: str) -> tuple[int, str | None, bytes]:
    answer = get(server.address, path, **{name: value})
    return answer.status, answer.headers.get("content-range"), answer.body


def test_ranges_are_those_of_the_rfc(serve: Serve) -> None:
    server = serve(APP, "-w", "1").ready(1)
    for path in ("/file", "/memory", "/bytes", "/pieces"):
        for wanted, (status, content_range, body) in RANGES.items():
            found = asked(server, path, "Range", wanted)
            assert found[:2] == (status, content_range), (path, wanted, found)
            assert body is None or found[2] == body, (path, wanted, found)
    assert asked(server, "/etag", "If-Match", '"other"') == (412, None, b"")
    assert asked(server, "/etag", "If-Match", '"x"') == WHOLE
    assert asked(server, "/etag", "If-None-Match", '"x"') == (304, None, b"")
    assert server.stop() == 0


@pytest.mark.parametrize(("how", "code"), [("raises", 1011), ("aborts", 1011), ("returns", 1000), ("closes", 1000)])
def test_a_websocket_closes_as_its_handler_ended(serve: Serve, how: str, code: int) -> None:
    server = serve(APP, "-w", "1").ready(1)
    if how == "raises":
        server.expect("Exception on websocket", "Traceback")
    host, port = server.address
    with connect(f"ws://{host}:{port}/{how}") as line:
        line.send("x")
        with pytest.raises(ConnectionClosed):
            line.recv(timeout=10)
        assert line.protocol.close_code == code
    assert server.stop() == 0
