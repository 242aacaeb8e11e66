"""One app, twice: as a plain ASGI callable and as a Quart app. Both tell the client all they saw of its request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from quart import Quart, Response, request, websocket

from aeros.quart.lean import LeanQuart
from aeros.quart.versions import knows_quart

#: For what only the direct path does: with a Quart that is not known from inside, its own code runs.
DIRECT = pytest.mark.skipif(not knows_quart(), reason="this Quart is served by ASGI messages")
#: WebSocket cases that Quart itself fails when it is served by messages: of an empty binary one it makes None.
QUART_FAILS = frozenset() if knows_quart() else frozenset({"1.2.1"})

EXTRA = [
    ("x-one", "1"),
    ("X-Two", "two words"),
    ("set-cookie", "a=b"),
    ("set-cookie", "c=d"),
    ("x-latin", "caf\xe9".encode("latin1").decode("latin1")),
]


def seen(scope: Any, body: bytes) -> bytes:
    return json.dumps(
        {
            "http_version": scope["http_version"],
            "method": scope["method"],
            "scheme": scope["scheme"],
            "path": scope["path"],
            "raw_path": scope["raw_path"].decode("latin1"),
            "query_string": scope["query_string"].decode("latin1"),
            "root_path": scope["root_path"],
            "headers": [[name.decode("latin1"), value.decode("latin1")] for name, value in scope["headers"]],
            "body": body.decode("latin1") if len(body) < 1000 else len(body),
            "keys": sorted(scope),
            "extensions": scope["extensions"],
            "host": scope["client"][0],
            "server": len(scope["server"]),
        }
    ).encode()


async def read_body(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return body
        body += message["body"]
        if not message["more_body"]:
            return body


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    """Answer /json, /status/N and so on as their names say, everything else with what was seen."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] != "websocket.disconnect":
            await send({"type": "websocket.send", "text": message.get("text"), "bytes": message.get("bytes")})
        return None

    async def answer(status: int, headers: list[tuple[bytes, bytes]], *bodies: bytes) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for body in bodies:
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    def sized(body: bytes) -> list[tuple[bytes, bytes]]:
        return [(b"content-length", b"%d" % len(body))]

    path = scope["path"]
    if path == "/early":
        return await answer(200, sized(b"early"), b"early")
    body = await read_body(receive)
    kind, _, argument = path[1:].partition("/")
    if kind == "json":
        return await answer(200, [(b"content-type", b"application/json"), *sized(b"{}")], b"{}")
    if kind == "text":
        return await answer(200, sized(b"text"), b"text")
    if kind == "empty":
        return await answer(200, sized(b""))
    if kind == "stream":
        return await answer(200, [(b"content-type", b"text/plain")], b"one", b"two", b"", b"three")
    if kind == "stream-empty":
        return await answer(200, [])
    if kind == "status":
        return await answer(int(argument), sized(b"body"), b"body")
    if kind == "length":
        return await answer(200, [(b"Content-Length", argument.encode())], b"0123456789")
    if kind == "length-head":
        return await answer(200, [(b"content-length", b"5")], b"01234")
    if kind == "te-chunked":
        return await answer(200, [(b"transfer-encoding", b"chunked"), (b"x-a", b"b")], b"01234")
    if kind == "close":
        return await answer(200, [(b"connection", b"close"), (b"x-a", b"b"), *sized(b"x")], b"x")
    if kind == "keep":
        return await answer(200, [(b"connection", b"keep-alive"), (b"x-a", b"b"), *sized(b"x")], b"x")
    if kind == "headers":
        extra = [(name.encode(), value.encode("latin1")) for name, value in EXTRA]
        return await answer(200, [*extra, (b"x-space", b"  padded  "), *sized(b"x")], b"x")
    if kind == "unicode":
        return await answer(200, [(b"x-u", "\u20ac".encode()), *sized(b"x")], b"x")
    if kind == "big":
        return await answer(200, sized(b"x" * 300000), b"x" * 300000)
    if kind == "raises":
        raise RuntimeError("on purpose")
    if kind == "raises-late":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        raise RuntimeError("on purpose")
    if kind == "too-much":
        return await answer(200, [(b"content-length", b"3")], b"12345")
    if kind == "too-little":
        return await answer(200, [(b"content-length", b"9")], b"12345")
    if kind == "bad-header":
        return await answer(200, [(b"x-bad", b"a\r\nx-injected: b"), *sized(b"x")], b"x")
    if kind == "bad-name":
        return await answer(200, [(b"x bad", b"a"), *sized(b"x")], b"x")
    answer_body = seen(scope, body)
    return await answer(200, sized(answer_body), answer_body)


def make_quart(kind: type[Quart] = Quart) -> Quart:
    """Return the same app as a Quart app."""
    app = kind("apps")
    app.config["PROPAGATE_EXCEPTIONS"] = True  # as the ASGI app: an exception reaches the server
    app.testing = not knows_quart()  # or Quart 0.20 would answer with a page of the traceback instead

    @app.route("/<path:path>", methods=METHODS)
    @app.route("/", methods=METHODS)
    async def everything(path: str = "") -> Any:
        body = await request.get_data()
        found = [[name, value] for name, value in request.headers]
        text = json.dumps(
            [json.loads(seen(request.scope, body)), found, request.host, request.url, request.path, request.args]
        )
        return Response(text, headers={"content-type": "application/json"})

    @app.route("/early", methods=METHODS)
    async def early() -> Any:
        return "early"

    @app.route("/json", methods=METHODS)
    async def json_() -> Any:
        return {"a": [1, "\u20ac"], "b": None}

    @app.route("/text", methods=METHODS)
    async def text() -> Any:
        return "text"

    @app.route("/empty", methods=METHODS)
    async def empty() -> Any:
        return ""

    @app.route("/stream", methods=METHODS)
    async def stream() -> Any:
        async def pieces() -> AsyncIterator[str]:
            yield "one"
            await asyncio.sleep(0.01)
            yield ""
            yield "two"

        return pieces()

    @app.route("/stream-empty", methods=METHODS)
    async def stream_empty() -> Any:
        async def pieces() -> AsyncIterator[str]:
            for piece in ():
                yield piece

        return pieces()

    @app.route("/status/<int:status>", methods=METHODS)
    async def status(status: int) -> Any:
        return "body", status

    @app.route("/length/<length>", methods=METHODS)
    async def length(length: str) -> Any:
        return Response("0123456789", headers={"Content-Length": length})

    @app.route("/length-head", methods=METHODS)
    async def length_head() -> Any:
        return Response("01234")

    @app.route("/te-chunked", methods=METHODS)
    async def te_chunked() -> Any:
        response = Response("01234")
        del response.headers["Content-Length"]
        response.headers["Transfer-Encoding"] = "chunked"
        return response

    @app.route("/close", methods=METHODS)
    async def close() -> Any:
        return "x", {"Connection": "close", "X-A": "b"}

    @app.route("/keep", methods=METHODS)
    async def keep() -> Any:
        return "x", {"Connection": "keep-alive", "X-A": "b"}

    @app.route("/headers", methods=METHODS)
    async def headers() -> Any:
        return "x", EXTRA

    @app.route("/unicode", methods=METHODS)
    async def unicode_() -> Any:
        return "x", {"X-U": "\u20ac"}

    @app.route("/big", methods=METHODS)
    async def big() -> Any:
        return b"x" * 300000

    @app.route("/raises", methods=METHODS)
    async def raises() -> Any:
        raise RuntimeError("on purpose")

    @app.route("/raises-late", methods=METHODS)
    async def raises_late() -> Any:
        async def pieces() -> AsyncIterator[str]:
            yield "part"
            raise RuntimeError("on purpose")

        return pieces()

    @app.route("/too-much", methods=METHODS)
    async def too_much() -> Any:
        response = Response("12345")
        response.headers["Content-Length"] = "3"
        return response

    @app.route("/too-little", methods=METHODS)
    async def too_little() -> Any:
        response = Response("12345")
        response.headers["Content-Length"] = "9"
        return response

    @app.route("/bad-header", methods=METHODS)
    async def bad_header() -> Any:
        response = Response("x")
        response.headers._list.append(("X-Bad", "a\r\nx-injected: b"))
        return response

    @app.route("/bad-name", methods=METHODS)
    async def bad_name() -> Any:
        response = Response("x")
        response.headers._list.append(("x bad", "a"))
        return response

    @app.websocket("/ws")
    async def ws() -> None:
        while True:
            await websocket.send(await websocket.receive())

    return app


METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND", "REPORT", "CONNECT"]


class LeanApp(LeanQuart, Quart):
    """What WebServer is as far as serving goes."""
