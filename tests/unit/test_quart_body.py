"""The request body of the lane: what is iterated and awaited, and where large ones are read to."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from werkzeug.exceptions import RequestEntityTooLarge

from aeros.quart.versions import quart_line
from aeros.worker.http1.large_body import AHEAD, GROWTH_MAX, LANDING_MIN, Room

if quart_line() is None:
    pytest.skip("a Quart that is served by its own code has no body of the lane's", allow_module_level=True)

from aeros.quart.line import LaneBody


class Service:
    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()


class Carrier:
    service = Service()

    def __init__(self) -> None:
        self.resumed = 0

    def resume_reading(self) -> None:
        self.resumed += 1


def make(expected: int | None = None, maximum: int | None = None) -> LaneBody:
    carrier: Any = Carrier()
    return LaneBody(carrier, expected, maximum)


def read(room: Room, data: bytes) -> int:
    """Read as the socket would, in one call; return how many bytes went."""
    free = room.free()
    count = min(len(data), len(free))
    free[:count] = data[:count]
    free.release()
    room.fill(count)
    return count


def read_all(room: Room, body: LaneBody, data: bytes) -> int:
    """Return how many reads it took."""
    at = reads = 0
    while at < len(data):
        count = read(room, data[at:])
        body.landed(count)
        at += count
        reads += 1
    return reads


async def collect(body: LaneBody) -> list[bytes]:
    return [piece async for piece in body]


def test_pieces_are_joined_for_who_awaits_the_body() -> None:
    async def check() -> None:
        body = make()
        body.append(b"ab")
        body.append(b"")
        body.append(b"cd")
        body.set_complete()
        assert await body == b"abcd"
        assert await body == b"abcd"
        body.clear()
        assert await body == b""

    asyncio.run(check())


def test_a_single_piece_is_given_as_it_is() -> None:
    async def check() -> None:
        body, piece = make(), b"x" * 1000
        body.append(piece)
        body.set_complete()
        assert await body is piece

    asyncio.run(check())


def test_iterating_waits_for_each_piece() -> None:
    async def check() -> None:
        body = make()
        collecting = asyncio.create_task(collect(body))
        for piece in (b"a", b"b"):
            await asyncio.sleep(0)
            body.append(piece)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        body.append(b"c")
        body.append(b"d")
        body.set_complete()
        pieces = await collecting
        assert pieces[:2] == [b"a", b"b"]
        assert b"".join(pieces[2:]) == b"cd"  # Quart 0.22 joins what has come meanwhile, 0.23 does not
        assert await collect(body) == []

    asyncio.run(check())


def test_awaiting_lifts_the_limit_and_iterating_does_not() -> None:
    async def check() -> None:
        body = make()
        body.append(b"abc")
        assert body.buffered() == 3
        assert body.room(1 << 20) is None
        waiting = asyncio.create_task(_awaited(body))
        await asyncio.sleep(0)
        assert body.buffered() == 0
        body.set_complete()
        assert await waiting == b"abc"

    asyncio.run(check())


async def _awaited(body: LaneBody) -> bytes:
    data: bytes = await body
    return data


def test_a_body_above_its_maximum_is_refused() -> None:
    async def check() -> None:
        body = make(maximum=3)
        body.append(b"abcd")
        body.append(b"dropped")
        for _ in range(2):
            with pytest.raises(RequestEntityTooLarge):
                await body
        announced = make(expected=4, maximum=3)
        with pytest.raises(RequestEntityTooLarge):
            await anext(announced)
        assert announced.room(1) is None

    asyncio.run(check())


def test_a_large_body_is_read_to_where_it_stays() -> None:
    async def check() -> None:
        data = bytes(range(256)) * 4096
        body = make(expected=len(data), maximum=len(data))
        body.append(data[:200_000])
        waiting = asyncio.create_task(_awaited(body))
        await asyncio.sleep(0)
        room = body.room(len(data) - 200_000)
        assert room is not None
        assert read_all(room, body, data[200_000:]) == 1
        body.set_complete()
        assert await waiting == data
        assert await body == data

    asyncio.run(check())


def test_no_room_is_made_above_the_maximum() -> None:
    async def check() -> None:
        body = make(expected=None, maximum=100)
        body.append(b"ab")
        waiting = asyncio.create_task(_awaited(body))
        await asyncio.sleep(0)
        assert body.room(99) is None
        body.set_complete()
        await waiting

    asyncio.run(check())


def test_who_iterates_after_giving_up_waiting_gets_the_rest() -> None:
    async def check() -> None:
        data = bytes(range(256)) * 2048
        body = make(expected=len(data))
        body.append(data[:70_000])
        waiting = asyncio.create_task(_awaited(body))
        await asyncio.sleep(0)
        room = body.room(len(data) - 70_000)
        assert room is not None
        waiting.cancel()
        read_all(room, body, data[70_000:100_000])
        first = await anext(body)
        assert first == data[:100_000]
        collecting = asyncio.create_task(collect(body))
        await asyncio.sleep(0)
        read_all(room, body, data[100_000:300_000])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        read_all(room, body, data[300_000:])
        body.set_complete()
        rest = await collecting
        assert len(rest) > 1
        assert first + b"".join(rest) == data

    asyncio.run(check())


def test_what_is_made_for_an_announced_length_follows_what_has_come() -> None:
    announced = 1 << 30
    room = Room([bytes(LANDING_MIN)], announced)
    made = LANDING_MIN * AHEAD
    assert len(room.free()) == made - LANDING_MIN
    read(room, bytes(made))
    assert len(room.free()) == min(made * (AHEAD - 1), GROWTH_MAX)
    assert room.take() == bytes(made)
    assert len(room.free()) == LANDING_MIN


@pytest.mark.parametrize("step", [1 << 16, 300_000, 1 << 22])
def test_a_room_grows_to_what_was_announced_and_no_further(step: int) -> None:
    data = bytes(range(256)) * 15_000
    room = Room([data[:65_536]], len(data) - 65_536)
    at = 65_536
    while at < len(data):
        at += read(room, data[at : at + step])
    assert not len(room.free())
    assert room.take() == data
