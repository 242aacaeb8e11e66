"""Messages of WebSockets in the worker's budget for bodies: who waits, who is turned away, and the clock."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from lane_server import Served, eventually, run, served
from websocket_cases import handshake

from aeros.worker.lane import body_budget
from aeros.worker.lane.limits import Limits
from aeros.worker.websocket import message_share

MIB = 1 << 20


async def echo(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] != "websocket.disconnect":
        if event["type"] == "websocket.receive":
            await send({"type": "websocket.send", "bytes": event["bytes"]})


async def begun(server: Served, size: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a WebSocket and send half a message: all but its last byte."""
    reader, writer = await server.connect()
    writer.write(handshake())
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"\x82\xff" + (size + 1).to_bytes(8, "big") + bytes(4) + bytes(size))
    return reader, writer


def test_who_finds_no_room_is_closed_with_1013_and_the_first_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_budget, "WAIT_S", 0.3)
    monkeypatch.setattr(body_budget, "LOOK_S", 0.1)

    async def check() -> None:
        async with served(echo, limits=Limits(body_memory_bytes=2 * MIB)) as server:
            assert server.service is not None
            budget = server.service.bodies
            assert budget is not None
            reader, writer = await begun(server, 3 * MIB)
            await eventually(lambda: budget.held >= 2 * MIB)
            second, _ = await begun(server, 3 * MIB)
            close = await asyncio.wait_for(second.readexactly(4), 5)
            assert (close[0], int.from_bytes(close[2:4], "big")) == (0x88, 1013)
            writer.write(b"\0")
            head = await asyncio.wait_for(reader.readexactly(10), 5)
            assert int.from_bytes(head[2:], "big") == 3 * MIB + 1, "the echo"
            await reader.readexactly(3 * MIB + 1)
            await eventually(lambda: budget.held == 0)

    run(check())


def test_nothing_is_held_of_a_client_that_left() -> None:
    async def check() -> None:
        async with served(echo) as server:
            assert server.service is not None
            budget = server.service.bodies
            assert budget is not None
            _, writer = await begun(server, MIB)
            await eventually(lambda: budget.held == MIB)
            writer.transport.abort()
            await eventually(lambda: budget.held == 0)

    run(check())


def test_half_a_message_that_comes_no_further_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_share, "BODY_WINDOW_S", 0.3)

    async def check() -> None:
        async with served(echo) as server:
            small, _ = await begun(server, 1000)
            reader, _ = await begun(server, MIB)
            close = await asyncio.wait_for(reader.readexactly(4), 5)
            assert (close[0], int.from_bytes(close[2:4], "big")) == (0x88, 1008)
            assert not small.at_eof(), "a small one holds nothing of the budget"

    run(check())
