"""The lane's WebSockets as apps and clients see them, beside Hypercorn's classes where these do the same."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import websockets
from apps import DIRECT, LeanApp, asgi_app, make_quart
from lane_server import Served, eventually, normal, quiet_config, run, served
from quart import Quart, abort, websocket
from websocket_cases import BINARY, KEY, PING, TEXT, close, frame, frames_until_end, handshake

from aeros.quart.versions import knows_quart
from aeros.worker.websocket.connection import READ_AHEAD

PATHS = ["lane", "hypercorn"]


class Recorder:
    """An app that accepts and writes down what it gets; `behave` is called with send once it has accepted."""

    def __init__(self, behave: Any = None, accept: dict[str, Any] | None = None) -> None:
        self.behave = behave
        self.accept = accept or {}
        self.scope: Any = None
        self.got: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        self.got.append(await receive())
        await send({"type": "websocket.accept", **self.accept})
        if self.behave is not None:
            await self.behave(send)
        while self.got[-1]["type"] != "websocket.disconnect":
            self.got.append(await receive())


@contextlib.asynccontextmanager
async def opened(server: Served, *args: Any, **kwargs: Any) -> AsyncIterator[tuple[Any, Any, bytes]]:
    reader, writer = await server.connect()
    writer.write(handshake(*args, **kwargs))
    yield reader, writer, await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 3)
    writer.close()


def both(check: Any) -> tuple[Any, Any]:
    return run(check("lane")), run(check("hypercorn"))


@pytest.mark.parametrize("raw", [False, True])
def test_the_scope_is_hypercorns(raw: bool) -> None:
    async def check(path: str) -> Any:
        app = Recorder()
        config = quiet_config(root_path="/mount", h11_pass_raw_headers=raw)
        async with served(app, path, config, request_ids=False) as server:
            extra = "X-Some: Value\r\nSec-WebSocket-Protocol: one, two\r\nCookie: a=b\r\n"
            async with opened(server, "/ws/%C3%BC%20x?a=b&c", "permessage-deflate", extra):
                await eventually(lambda: app.scope is not None)
        assert app.scope["client"][0] == "127.0.0.1" and app.scope["server"] == ("127.0.0.1", server.port)
        return {**app.scope, "client": None, "server": None}

    lane, hypercorn = both(check)
    assert lane.pop("asgi") == {"spec_version": "2.4", "version": "3.0"}  # sending to who is gone raises
    assert hypercorn.pop("asgi")["spec_version"] == "2.3"
    assert lane == hypercorn
    assert list(lane["headers"]) == list(hypercorn["headers"])


ACCEPTS: list[Any] = [
    ({}, "", ""),
    ({"subprotocol": "two"}, "", "Sec-WebSocket-Protocol: one, two\r\n"),
    ({"headers": [(b"x-one", b"1"), (b"Set-Cookie", b"a=b"), (b"set-cookie", b"c=d")]}, "", ""),
    ({}, "permessage-deflate", ""),
    ({"subprotocol": "a"}, "permessage-deflate; client_max_window_bits", "Sec-WebSocket-Protocol: a\r\n"),
    ({}, "permessage-deflate; server_max_window_bits=10; client_no_context_takeover", ""),
]


@pytest.mark.parametrize("number", range(len(ACCEPTS)))
def test_the_response_to_the_handshake_is_hypercorns(number: int) -> None:
    accept, offer, extra = ACCEPTS[number]

    async def check(path: str) -> bytes:
        async with served(Recorder(accept=accept), path) as server, opened(server, "/", offer, extra) as (_, _, head):
            return normal(head)

    lane, hypercorn = both(check)
    assert lane == hypercorn


async def rejects(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    kind = scope["path"]
    start = {"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-why", b"key")]}
    if kind == "/close":
        await send({"type": "websocket.close", "code": 4000})
    elif kind == "/length":
        await send({**start, "headers": [(b"content-length", b"6"), (b"x-why", b"key")]})
        await send({"type": "websocket.http.response.body", "body": b"go", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"away"})
    elif kind == "/chunked":
        await send(start)
        await send({"type": "websocket.http.response.body", "body": b"go", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"", "more_body": False})
    elif kind == "/raises":
        raise ValueError("broken")
    elif kind == "/nothing":
        await send({**start, "status": 204})
        await send({"type": "websocket.http.response.body"})


@pytest.mark.parametrize("kind", ["close", "length", "chunked", "raises", "returns", "nothing"])
def test_rejections_are_hypercorns(kind: str) -> None:
    async def check(path: str) -> tuple[bytes, bool]:
        async with served(rejects, path) as server:
            data, ended = await server.exchange(handshake(f"/{kind}"), quiet=1.0)
            # Hypercorn closes without having said so.
            return normal(data).replace(b"Connection: close\r\n", b""), ended

    lane, hypercorn = both(check)
    assert lane == hypercorn
    assert lane[1]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("behave", "code", "reason"),
    [
        ({"type": "websocket.close"}, 1000, ""),
        ({"type": "websocket.close", "code": 4321, "reason": "enough ü"}, 4321, "enough ü"),
        ({"type": "websocket.close", "code": 1006, "reason": None}, 1000, ""),
        ({"type": "websocket.send", "text": 5}, 1011, ""),
        ({"type": "nonsense"}, 1011, ""),
    ],
)
def test_how_an_app_ends(behave: Any, code: int, reason: str, path: str) -> None:
    async def ends(send: Any) -> None:
        await send(behave)

    async def check() -> None:
        async with served(Recorder(ends), path) as server:
            client = await websockets.connect(f"ws://127.0.0.1:{server.port}/")
            await asyncio.wait_for(client.wait_closed(), 3)
            assert (client.close_code, client.close_reason) == (code, reason)

    run(check())


def test_a_close_code_that_must_not_be_sent() -> None:
    raised: list[BaseException] = []

    async def ends(send: Any) -> None:
        try:
            await send({"type": "websocket.close", "code": 999})
        except ValueError as error:
            raised.append(error)

    async def check() -> None:
        async with served(Recorder(ends)) as server, opened(server):
            await eventually(lambda: bool(raised))
            assert "999" in str(raised[0])

    run(check())


@pytest.mark.parametrize(
    ("sent", "code", "reason"),
    [
        (close(1000), 1000, ""),
        (close(4001, b"bye"), 4001, "bye"),
        (close(), 1005, ""),
        (b"", 1006, ""),
        (frame(3), 1002, "unknown opcode"),
        (frame(TEXT, b"\xff"), 1007, "invalid UTF-8"),
        (b"\x82\xff" + (1 << 40).to_bytes(8, "big") + KEY, 1009, "message too big"),
    ],
)
def test_the_app_is_told_how_it_ended(sent: bytes, code: int, reason: str) -> None:
    async def check() -> None:
        app = Recorder()
        async with served(app) as server:
            async with opened(server) as (_, writer, _):
                writer.write(frame(TEXT, b"before") + sent)
                if not sent:
                    writer.close()
                await eventually(lambda: app.got[-1]["type"] == "websocket.disconnect")
            assert app.got[1] == {"type": "websocket.receive", "text": "before"}
            assert app.got[2] == {"type": "websocket.disconnect", "code": code, "reason": reason}

    run(check())


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("listens", [False, True])
def test_who_sends_to_a_client_that_left_gets_an_oserror(
    path: str, listens: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether it listens or not, and nobody has to read of it: an app that only sends would go on for ever else."""
    ended: list[BaseException] = []

    async def sends(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        try:
            while listens and (await receive())["type"] != "websocket.disconnect":
                pass
            while True:
                await send({"type": "websocket.send", "text": "tick"})
                await asyncio.sleep(0.01)
        except BaseException as error:
            ended.append(error)
            await send({"type": "websocket.close", "code": 1000})  # to tidy up is no error
            raise

    async def check() -> None:
        async with served(sends, path) as server:
            for _ in range(3):
                async with opened(server) as (_, writer, _):
                    writer.transport.abort()
            assert server.service is not None
            lane = server.connections
            await eventually(lambda: len(ended) == 3 and not lane.running)
        assert all(isinstance(error, OSError) for error in ended)

    run(check())
    assert not caplog.records


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (handshake().replace(b"Version: 13", b"Version: 8"), 400),
        (handshake().replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"AAAA"), 400),
        (handshake(extra="Content-Length: 2\r\n") + b"hi", 400),
        (handshake().replace(b"HTTP/1.1", b"HTTP/1.0", 1), 400),
    ],
)
def test_handshakes_that_are_none(head: bytes, status: int) -> None:
    async def check() -> None:
        async with served(asgi_app) as server:
            data, ended = await server.exchange(head, quiet=1.0)
            assert data.startswith(b"HTTP/1.1 %d " % status) and ended
            assert (b"sec-websocket-version: 13" in data) == (b"Version: 8" in head)

    run(check())


def test_frames_behind_the_handshake_wait() -> None:
    async def check() -> None:
        app = Recorder()
        async with served(app) as server:
            reader, writer = await server.connect()
            writer.write(handshake() + frame(TEXT, b"early") + close(1000))
            await asyncio.wait_for(reader.read(), 3)
            await eventually(lambda: len(app.got) == 3)
            assert app.got[1]["text"] == "early"
            writer.close()

    run(check())


def test_an_app_that_takes_nothing_makes_the_client_wait() -> None:
    go = asyncio.Event()
    taken: list[int] = []

    async def late(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await go.wait()
        while (message := await receive())["type"] == "websocket.receive":
            taken.append(len(message["bytes"]))

    async def check() -> None:
        async with served(late) as server:
            assert server.service is not None
            async with opened(server) as (reader, writer, _):
                writer.transport.set_write_buffer_limits(1 << 24)
                writer.write(frame(BINARY, bytes(1000)) * 30_000 + close(1000))
                (session,) = server.connections.websockets
                await eventually(lambda: session._held)
                size = writer.transport.get_write_buffer_size()
                await asyncio.sleep(0.05)
                assert writer.transport.get_write_buffer_size() == size > 10_000_000
                assert session.inbox.size + session._reader.kept < READ_AHEAD + (1 << 20)
                go.set()
                assert await asyncio.wait_for(reader.read(), 10) == b"\x88\x02\x03\xe8"
                await eventually(lambda: taken == [1000] * 30_000)

    run(check())


def test_a_client_that_reads_nothing_makes_the_app_wait() -> None:
    sent: list[int] = []

    async def pours(send: Any) -> None:
        for number in range(2000):
            await send({"type": "websocket.send", "bytes": bytes(100_000)})
            sent.append(number)
        await send({"type": "websocket.close"})

    async def check() -> None:
        async with served(Recorder(pours)) as server:
            assert server.service is not None
            reader, writer = await server.connect()
            writer.transport.pause_reading()
            writer.write(handshake())
            await eventually(lambda: len(sent) > 1)
            (session,) = server.connections.websockets
            await eventually(lambda: bool(session._writers))
            assert session.transport.get_write_buffer_size() < 300_000
            writer.write(frame(PING, b"x") * 1000)
            await asyncio.sleep(0.05)
            assert session.transport.get_write_buffer_size() < 300_000
            writer.transport.resume_reading()
            total = 0
            while piece := await asyncio.wait_for(reader.read(1 << 20), 10):
                before, total = total, total + len(piece)
                if before <= 2000 * 100_000 < total:  # once: what comes behind a close frame may meet a reset
                    writer.write(close(1000))
            assert len(sent) == 2000

    run(check())


@pytest.mark.parametrize("path", PATHS)
def test_pings(path: str) -> None:
    async def check() -> None:
        config = quiet_config(websocket_ping_interval=0.1)
        async with served(Recorder(), path, config) as server, opened(server) as (reader, _, _):
            clock = asyncio.get_running_loop().time
            begun = clock()
            assert await asyncio.wait_for(reader.readexactly(6), 3) == b"\x89\x00" * 3
            assert 0.15 < clock() - begun < 2

    run(check())


@pytest.mark.parametrize("path", PATHS)
def test_silence_ends_a_websocket_where_it_is_bounded(path: str) -> None:
    async def check() -> None:
        app = Recorder()
        async with served(app, path, quiet_config(read_timeout=0.2)) as server, opened(server) as (reader, _, _):
            assert await asyncio.wait_for(reader.read(), 3) == b""
            await eventually(lambda: app.got[-1]["type"] == "websocket.disconnect")

    run(check())


def test_the_access_log_has_the_handshake(caplog: pytest.LogCaptureFixture) -> None:
    async def check(path: str) -> list[str]:
        caplog.clear()
        logger = logging.getLogger("websocket-access")
        logger.setLevel(logging.INFO)
        config = quiet_config(accesslog=logger, access_log_format="%(R)s %(s)s %(S)s")
        async with served(asgi_app, path, config) as server:
            async with opened(server, "/ws?a=b"):
                pass
            await eventually(lambda: bool(caplog.records))
        return [record.getMessage() for record in caplog.records]

    lane, hypercorn = both(check)
    assert lane == ["GET /ws?a=b HTTP/1.1 101 ws"]
    assert hypercorn == ["GET /ws?a=b 1.1 101 ws"]  # its own logger; a server's is ours, whoever serves


# Quart


def quart_app() -> tuple[Quart, list[Any]]:
    app = LeanApp(__name__)
    told: list[Any] = []

    @app.websocket("/echo")
    async def echo() -> None:
        while True:
            message = await websocket.receive()
            told.append(message)
            await websocket.send(message)

    @app.websocket("/sub")
    async def sub() -> None:
        await websocket.accept(headers={"X-One": "1"}, subprotocol="b")
        await websocket.send(",".join(websocket.requested_subprotocols))
        await websocket.close(4000, "done")

    @app.websocket("/no")
    async def no() -> None:
        abort(401)

    @app.websocket("/answer")
    async def answer() -> Any:
        return "not here", 418

    @app.websocket("/breaks")
    async def breaks() -> None:
        await websocket.accept()
        raise ValueError("broken")

    @app.websocket("/returns")
    async def returns() -> None:
        await websocket.send("bye")

    @app.websocket("/waits")
    async def waits() -> None:
        await websocket.accept()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            told.append("cancelled")
            raise

    @app.teardown_websocket
    async def teardown(error: BaseException | None) -> None:
        told.append(type(error))

    return app, told


async def quart_end(server: Served, kind: str, path: str, extra: str = "") -> Any:
    """Return status, and the frames until the end."""
    reader, writer = await server.connect()
    writer.write(handshake(path, extra=extra))
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 3)
    if b" 101 " in head:
        data = b""
        while not frames_until_end(data):
            data += await asyncio.wait_for(reader.read(1 << 16), 3)
        writer.write(close(1000))
        await asyncio.wait_for(reader.read(), 3)
        rest: Any = frames_until_end(data)
    else:
        length = re.search(rb"content-length: (\d+)", head.lower())
        rest = await asyncio.wait_for(reader.readexactly(int(length[1])) if length else reader.read(), 3)
        # Hypercorn closes when the app returns, and that from Quart 0.23 on waits to be told that the client has gone.
        if kind == "lane":
            assert await asyncio.wait_for(reader.read(), 3) == b""
    writer.close()
    return normal(head).lower().replace(b"connection: close\r\n", b""), rest


@pytest.mark.parametrize("path", ["/sub", "/no", "/answer", "/breaks", "/returns", "/missing"])
def test_quart_handlers_end_as_under_hypercorn(path: str) -> None:
    async def check(kind: str) -> Any:
        app, told = quart_app()
        async with served(app, kind) as server:
            ended = await quart_end(server, kind, path, "Sec-WebSocket-Protocol: a, b\r\n")
            await eventually(lambda: bool(told) or path == "/missing")
        return ended, told

    lane, hypercorn = both(check)
    if path == "/breaks" and knows_quart():  # RFC 6455 section 7.4.1: 1000 would say that all went as wanted
        (head, outcome), told = hypercorn
        hypercorn = (head, replace(outcome, code=1011)), told
    assert lane == hypercorn


@pytest.mark.parametrize("how", ["close", "abort"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_quart_handler_is_cancelled_at_the_end(wrapped: bool, how: str) -> None:
    async def check() -> None:
        app, told = quart_app()
        if wrapped:
            inner = app.asgi_app

            async def wrapper(scope: Any, receive: Any, send: Any) -> None:
                await inner(scope, receive, send)

            app.asgi_app = wrapper  # type: ignore[method-assign, assignment]
        async with served(app) as server:
            assert server.service is not None
            direct = server.service.direct is not None and server.service.direct.websockets_usable()
            assert direct == (knows_quart() and not wrapped)
            async with opened(server, "/waits") as (_, writer, _):
                if how == "close":
                    writer.write(close(1000))
                else:
                    writer.transport.abort()
                await eventually(lambda: len(told) == 2)
            assert told == ["cancelled", asyncio.CancelledError]
            await eventually(lambda: not server.connections.running)  # type: ignore[union-attr]

    run(check())


@DIRECT  # Quart makes None of the message
def test_quart_gets_an_empty_binary_message() -> None:
    async def check() -> None:
        app, told = quart_app()
        async with served(app) as server, opened(server, "/echo") as (reader, writer, _):
            writer.write(frame(BINARY) + frame(TEXT))
            assert await asyncio.wait_for(reader.readexactly(4), 3) == b"\x82\x00\x81\x00"
            assert told == [b"", ""]

    run(check())


def test_quarts_signals_are_sent() -> None:
    from quart.signals import websocket_received, websocket_sent

    seen: list[Any] = []

    async def received(message: Any) -> None:
        seen.append(("received", message))

    async def sent(message: Any) -> None:
        seen.append(("sent", message))

    async def check() -> None:
        app, _ = quart_app()
        async with served(app) as server, opened(server, "/echo") as (reader, writer, _):
            writer.write(frame(TEXT, b"x"))
            await asyncio.wait_for(reader.readexactly(3), 3)
            await eventually(lambda: len(seen) == 2)

    with websocket_received.connected_to(received), websocket_sent.connected_to(sent):
        run(check())
    assert seen == [("received", "x"), ("sent", "x")]


def test_the_client_library_with_compression() -> None:
    async def check() -> None:
        async with served(make_quart(LeanApp)) as server:
            url = f"ws://127.0.0.1:{server.port}/ws"
            async with websockets.connect(url, compression="deflate", max_size=None) as client:
                assert "permessage-deflate" in client.response.headers["Sec-WebSocket-Extensions"]
                for message in ("a", "ü" * 100_000, b"\0" * 2_000_000, "", "again"):
                    await client.send(message)
                    assert await client.recv() == message
                await client.send(["frag", "men", "ts"])
                assert await client.recv() == "fragments"
                await asyncio.wait_for(await client.ping(), 3)

    run(check())
