"""What the versions of Quart differ in, on the direct path beside Hypercorn; quart_line has the code."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from lane_server import eventually, quiet_config, run, served
from quart import Quart, Request, request, websocket
from test_websockets import opened
from websocket_cases import TEXT, close, frame
from werkzeug.exceptions import RequestEntityTooLarge

from aeros.quart.versions import quart_line

ONLY_0_23 = pytest.mark.skipif(quart_line() != "0.23", reason="only Quart 0.23 tells that the client is gone")
CHUNKED = b"POST /%s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def reading_app(seen: list[Any]) -> Quart:
    app = Quart("reading")
    app.config["MAX_CONTENT_LENGTH"] = 1000

    @app.errorhandler(413)
    async def too_large(error: RequestEntityTooLarge) -> Any:
        seen.append("413")
        return "too large", 413

    @app.post("/iterate")
    async def iterate() -> str:
        seen.append(b"".join([data async for data in request.body]))
        seen.append(await request.get_data())
        return "ok"

    @app.post("/await")
    async def await_() -> str:
        seen.append(await request.body)
        seen.append(await request.body)
        seen.append([data async for data in request.body if data])
        return "ok"

    @app.post("/forget")
    async def forget() -> str:
        seen.append(await request.get_data(cache=False))
        seen.append(await request.get_data())
        return "ok"

    @app.post("/form")
    async def form() -> str:
        seen.append(dict(await request.form))
        return "ok"

    return app


@pytest.mark.parametrize(
    "parts", [(), (b"a=1",), (b"a=", b"1&b", b"=2"), (b"a=" + b"x" * 998,), (b"x" * 600, b"y" * 600)]
)
@pytest.mark.parametrize("path", ["iterate", "await", "forget", "form"])
def test_a_body_is_read_as_under_hypercorn(path: str, parts: tuple[bytes, ...]) -> None:
    async def check(kind: str) -> Any:
        seen: list[Any] = []
        head = (CHUNKED % path.encode())[:-2] + b"Connection: close\r\n\r\n"
        if path == "form":
            head = head[:-2] + b"Content-Type: application/x-www-form-urlencoded\r\n\r\n"
        async with served(reading_app(seen), kind) as server:
            data, _ = await server.exchange(head, *map(chunk, parts), b"0\r\n\r\n", quiet=5.0)
        return data[: len(b"HTTP/1.1 200")], data.rpartition(b"\r\n")[2], seen

    assert run(check("lane")) == run(check("hypercorn"))


def test_a_body_beyond_the_limit_is_refused_before_it_ends() -> None:
    async def check() -> None:
        seen: list[Any] = []
        async with served(reading_app(seen)) as server:
            data, _ = await server.exchange(CHUNKED % b"await", chunk(b"x" * 600), chunk(b"y" * 600))
        assert data.startswith(b"HTTP/1.1 413 "), data
        assert seen == ["413"]

    run(check())


def test_a_body_in_tiny_parts_takes_no_more_memory_than_its_bytes() -> None:
    count = 20_000
    lengths: list[int] = []

    async def check() -> None:
        app = Quart("tiny")
        go = asyncio.Event()

        @app.post("/")
        async def handler() -> Any:
            await go.wait()
            async for part in request.body:
                lengths.append(len(part))
            return "ok"

        async with served(app) as server:
            reader, writer = await server.connect()
            writer.write(CHUNKED % b"" + chunk(b"x") * count + b"0\r\n\r\n")
            await asyncio.sleep(0.3)
            go.set()
            assert b" 200 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)

    run(check())
    assert sum(lengths) == count
    assert len(lengths) < 100


@ONLY_0_23
@pytest.mark.parametrize("wrapped", [False, True])
def test_who_reads_on_is_told_that_the_client_is_gone(wrapped: bool) -> None:
    from quart.wrappers import ClientDisconnectedError

    async def check() -> None:
        seen: list[Any] = []
        app = Quart("gone")

        async def read() -> None:
            try:
                async for data in request.body:
                    seen.append(data)
            except ClientDisconnectedError:
                seen.append("gone")

        @app.post("/")
        async def handler() -> Any:
            task = asyncio.create_task(read())
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(30)
            await task

            async def pieces() -> AsyncIterator[str]:
                seen.append("begun")
                yield ""

            seen.append("answered")
            return pieces()

        wrap(app, wrapped)
        async with served(app) as server:
            assert server.service is not None
            _, writer = await server.connect()
            writer.write(CHUNKED % b"" + chunk(b"one"))
            await eventually(lambda: b"one" in seen)
            writer.transport.abort()
            await eventually(lambda: seen[-1] == "answered")
            await eventually(lambda: not server.connections.running)  # type: ignore[union-attr]
        assert seen == [b"one", "gone", "answered"]

    run(check())


def wrap(app: Quart, wrapped: bool) -> None:
    if wrapped:
        inner = app.asgi_app

        async def wrapper(scope: Any, receive: Any, send: Any) -> None:
            with contextlib.suppress(BaseExceptionGroup):
                await inner(scope, receive, send)

        app.asgi_app = wrapper  # type: ignore[method-assign, assignment]


@ONLY_0_23
def test_awaiting_a_body_whose_client_is_gone_ends() -> None:
    from quart.wrappers import ClientDisconnectedError

    async def check() -> None:
        seen: list[Any] = []
        app = Quart("gone")

        @app.post("/")
        async def handler() -> Any:
            seen.append("begun")
            with contextlib.suppress(asyncio.CancelledError):
                await request.body
            try:
                await request.body
            except ClientDisconnectedError:
                seen.append("gone")
                raise

        async with served(app) as server:
            _, writer = await server.connect()
            writer.write(CHUNKED % b"" + chunk(b"one"))
            await eventually(lambda: bool(seen))
            writer.transport.abort()
            await eventually(lambda: seen[-1] == "gone")
            await eventually(lambda: not server.connections.running)  # type: ignore[union-attr]

    run(check())


@ONLY_0_23
@pytest.mark.parametrize("end", ["all", "disconnect", "raises"])
def test_a_body_class_that_takes_its_time(end: str) -> None:
    from quart.wrappers.request import Body

    puts: list[Any] = []
    gate = asyncio.Event()

    class SlowBody(Body):
        async def put(self, data: bytes) -> None:
            await gate.wait()
            if end == "raises":
                raise ValueError("on purpose")
            puts.append(len(data))
            await super().put(data)

        def disconnect(self) -> None:
            puts.append("gone")
            super().disconnect()

    class SlowRequest(Request):
        body_class = SlowBody

    app = Quart("slow")
    app.request_class = SlowRequest
    size = 4 << 20

    @app.post("/")
    async def handler() -> Any:
        return str(len(await request.get_data()))

    async def check() -> None:
        async with served(app, config=quiet_config()) as server:
            reader, writer = await server.connect()
            writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
            # While reading is paused it would not be seen that the client goes.
            writer.write(b"x" * (size if end != "disconnect" else 1000))
            await asyncio.sleep(0.2)
            # What the body does not take is not read from the client either.
            assert (writer.transport.get_write_buffer_size() > 0) == (end != "disconnect")
            if end == "disconnect":
                writer.transport.abort()
                await eventually(lambda: puts == ["gone"])
            else:
                gate.set()
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
                if end == "all":
                    assert b" 200 " in head
                    assert await reader.readexactly(7) == b"%d" % size
                    assert sum(puts) == size
                else:
                    assert b" 500 " in head
            await eventually(lambda: not server.connections.running)  # type: ignore[union-attr]

    run(check())


@ONLY_0_23
@pytest.mark.parametrize("wrapped", [False, True])
def test_who_waits_for_a_message_is_told_that_the_client_is_gone(wrapped: bool) -> None:
    from quart.wrappers import ClientDisconnectedError

    async def check() -> None:
        seen: list[Any] = []
        app = Quart("gone")

        async def read() -> None:
            try:
                while True:
                    seen.append(await websocket.receive())
            except ClientDisconnectedError:
                seen.append("gone")

        @app.websocket("/")
        async def handler() -> Any:
            await websocket.accept()
            task = asyncio.create_task(read())
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(30)
            await task
            try:
                await websocket.send("too late")
            except ClientDisconnectedError:
                seen.append("not sent")
                raise

        wrap(app, wrapped)
        async with served(app) as server:
            async with opened(server, "/") as (_, writer, _):
                writer.write(frame(TEXT, b"one") + close(1000))
                await eventually(lambda: seen[-1:] == ["not sent"])
            await eventually(lambda: not server.connections.running)  # type: ignore[union-attr]
        assert seen == ["one", "gone", "not sent"]

    run(check())


@ONLY_0_23
def test_a_buffer_class_of_the_apps_own_is_fed() -> None:
    from quart.wrappers.websocket import Buffer, Websocket

    puts: list[Any] = []

    class MyBuffer(Buffer):
        async def put(self, data: bytes | str) -> None:
            puts.append(data)
            await super().put(data)

        def disconnect(self) -> None:
            puts.append("gone")
            super().disconnect()

    class MyWebsocket(Websocket):
        buffer_class = MyBuffer

    app = Quart("mine")
    app.websocket_class = MyWebsocket

    @app.websocket("/")
    async def handler() -> None:
        await websocket.send(await websocket.receive())
        await asyncio.sleep(30)

    async def check() -> None:
        async with served(app) as server:
            async with opened(server, "/") as (reader, writer, _):
                writer.write(frame(TEXT, b"one"))
                assert (await asyncio.wait_for(reader.readexactly(5), 3))[2:] == b"one"
                writer.write(close(1000))
                await eventually(lambda: puts == ["one", "gone"])
            await eventually(lambda: not server.connections.running)  # type: ignore[union-attr]

    run(check())
