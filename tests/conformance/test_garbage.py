"""What a connection leaves behind: nothing that only the garbage collector finds.

A cycle through an exception holds its traceback, with that the frames, and with those all that served the connection.
"""

from __future__ import annotations

import asyncio
import gc
from types import FrameType, TracebackType
from typing import Any

import pytest
from apps import DIRECT
from lane_server import LOOPS, Served, eventually, run, served
from quart import Quart, websocket
from websocket_cases import TEXT, close, frame, handshake

from aeros.worker.websocket.connection import WebSocketConnection

ROUNDS = 5
DEFLATE = "permessage-deflate; client_max_window_bits"


def quart_app() -> Quart:
    app = Quart("garbage")

    @app.websocket("/")
    async def echo() -> None:
        while True:
            await websocket.send(await websocket.receive())

    @app.get("/")
    async def slow() -> str:
        await asyncio.sleep(30)
        return ""

    return app


async def asked(server: Served, request: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request)
    return reader, writer


async def websocket_closed(server: Served, offer: str) -> None:
    reader, writer = await asked(server, handshake("/", offer))
    await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 3)
    writer.write(frame(TEXT, b"x"))
    await asyncio.wait_for(reader.readexactly(3), 3)
    writer.write(close())
    await asyncio.wait_for(reader.read(), 3)
    writer.close()


async def websocket_cut(server: Served, offer: str) -> None:
    reader, writer = await asked(server, handshake("/", offer))
    await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 3)
    writer.write(frame(TEXT, b"x"))
    await asyncio.wait_for(reader.readexactly(3), 3)
    writer.transport.abort()


async def request_cut(server: Served, offer: str) -> None:
    lane = server.connections
    assert lane is not None
    _, writer = await asked(server, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await eventually(lambda: lane.running == 1)
    await asyncio.sleep(0.01)  # into the handler
    writer.transport.abort()


@DIRECT  # what Quart's own classes leave behind is Quart's
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    ("visit", "offer"),
    [
        (websocket_closed, ""),
        (websocket_closed, DEFLATE),
        (websocket_cut, ""),
        (websocket_cut, DEFLATE),
        (request_cut, ""),
    ],
)
def test_a_connection_leaves_no_cycles_with_exceptions(visit: Any, offer: str, loop: str) -> None:
    async def check() -> list[Any]:
        async with served(quart_app()) as server:
            lane = server.connections
            assert lane is not None

            async def visits(times: int) -> None:
                for _ in range(times):
                    await visit(server, offer)
                    await eventually(lambda: not lane.running and not lane.websockets)
                await asyncio.sleep(0.02)

            await visits(3)  # what is made once
            gc.collect()
            gc.disable()
            gc.set_debug(gc.DEBUG_SAVEALL)
            try:
                await visits(ROUNDS)
                gc.collect()
                return gc.garbage[:]
            finally:
                gc.set_debug(0)
                gc.garbage.clear()
                gc.enable()

    ours = (BaseException, FrameType, TracebackType, asyncio.Task, WebSocketConnection)
    found = [value for value in run(check(), loop) if isinstance(value, ours)]
    assert not found, {type(value) for value in found}
