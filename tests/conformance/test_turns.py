"""What one connection may do in one turn of the event loop: counted in bytes read, with real connections."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from h2_frames import DATA, END_HEADERS, END_STREAM, HEADERS, Client, frame, get, post, request
from lane_server import LOOPS, eventually, run, served

from aeros.worker.http1.chunks import WORK_MAX
from aeros.worker.http2 import connection as http2

POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


async def echo_length(scope: Any, receive: Any, send: Any) -> None:
    more, length = True, 0
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length += len(message["body"])
        more = message["more_body"]
    body = b"%d" % length
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("chunk", [b"1\r\nx\r\n", b"2\r\nxy\r\n1\r\nz\r\n", b"%x\r\n%b\r\n" % (299, b"x" * 299)])
def test_a_flood_of_chunks_is_read_in_several_turns(chunk: bytes, loop: str) -> None:
    count = 3_000_000 // (len(chunk) + 10)
    turns: list[int] = []

    async def check() -> None:
        async with served(echo_length) as server:
            reader, writer = await server.connect()
            lane = server.connections
            assert lane is not None
            await eventually(lambda: bool(lane.open))
            (connection,) = lane.open
            # As much at once as no socket would give.
            connection.data_received(POST + chunk * count + b"0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")  # type: ignore[attr-defined]
            exchange = connection._exchange  # type: ignore[attr-defined]
            before = 0
            while not exchange._complete:
                turns.append(exchange.bytes_in - before)
                before = exchange.bytes_in
                await asyncio.sleep(0)
            assert max(turns) <= WORK_MAX // len(chunk) * len(chunk) + 3000 * len(chunk)
            answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            assert answer.startswith(b"HTTP/1.1 200")
            sent = b"%d" % (exchange.bytes_in - len(POST))
            assert await asyncio.wait_for(reader.readexactly(len(sent)), 10) == sent
            assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).startswith(b"HTTP/1.1 200")
            writer.close()

    run(check(), loop)
    assert len(turns) > 3


@pytest.mark.parametrize("loop", LOOPS)
def test_the_end_of_the_sending_side_waits_for_what_came_before(loop: str) -> None:
    async def check() -> None:
        async with served(echo_length) as server:
            reader, writer = await server.connect()
            writer.write(POST + b"1\r\nx\r\n" * 60_000 + b"0\r\n\r\n")
            writer.write_eof()
            assert (await asyncio.wait_for(reader.read(), 10)).endswith(b"\r\n\r\n60000")

    run(check(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_connection_that_goes_while_its_chunks_wait_leaves_nothing(loop: str) -> None:
    async def check() -> None:
        async with served(echo_length) as server:
            _, writer = await server.connect()
            lane = server.connections
            assert lane is not None
            await eventually(lambda: bool(lane.open))
            (connection,) = lane.open
            connection.data_received(POST + b"1\r\nx\r\n" * 300_000)  # type: ignore[attr-defined]
            writer.transport.abort()
            await eventually(lambda: not lane.open and not lane.running, 10)

    run(check(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_flood_of_frames_is_read_in_several_turns(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no time at all in a turn each frame has one of its own, and nothing is lost or out of order."""
    monkeypatch.setattr(http2, "TURN_S", 0.0)
    crumbs = [("cookie", f"a={number:04}") for number in range(1000)]
    frames = [post(1), *[frame(DATA, 0, 1, b"x")] * 3000, frame(DATA, END_STREAM, 1), get(3, "/", *crumbs)]
    turns = 0

    async def check() -> None:
        nonlocal turns
        async with served(echo_length) as server:
            client = await Client.connect(server)
            lane = server.connections
            assert lane is not None
            await eventually(lambda: any(isinstance(one, http2.HTTP2Connection) for one in lane.open))
            (connection,) = lane.open
            assert isinstance(connection, http2.HTTP2Connection)
            await eventually(lambda: connection.settled)
            connection.data_received(b"".join(frames))
            while connection._turn is not None:
                turns += 1
                await asyncio.sleep(0)
            answer = await client.answer(1)
            assert (answer.status, answer.body) == (200, b"3000")
            assert (await client.answer(3)).status == 200

    run(check(), loop)
    assert turns >= len(frames) - 1


@pytest.mark.parametrize("loop", LOOPS)
def test_requests_that_come_while_frames_wait_are_answered_behind_them(loop: str) -> None:
    async def check() -> None:
        async with served(echo_length) as server:
            client = await Client.connect(server)
            for stream in range(1, 60, 2):
                body = frame(DATA, 0, stream, b"xy") * 1000 + frame(DATA, END_STREAM, stream)
                client.send(frame(HEADERS, END_HEADERS, stream, request("/", "POST")) + body)
            for stream in range(1, 60, 2):
                assert (await client.answer(stream)).body == b"2000"

    run(check(), loop)
