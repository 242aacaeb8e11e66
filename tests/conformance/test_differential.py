"""The lane and Hypercorn's own path answer the same bytes with the same bytes, or the difference is documented."""

from __future__ import annotations

import asyncio
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from apps import LeanApp, asgi_app, make_quart
from exchanges import EXCHANGES, SPLIT, Sent
from lane_server import Served, normal, served
from lane_server import run as run_loop

DOCS = Path(__file__).resolve().parents[2] / "docs" / "http.md"
AT_ONCE = 24

#: Whoever answers late is taken to have nothing to say. In the loop's debug mode Hypercorn is, of two dozen at once.
run = partial(run_loop, debug=False)

Answer = tuple[bytes, bool]


async def answers(server: Served, exchanges: list[Sent], quiet: float) -> list[Answer]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(sent: Sent) -> Answer:
        async with gate:
            data, closed = await server.exchange(*sent.parts, half_close=sent.half_close, quiet=quiet)
            return normal(data), closed

    return await asyncio.gather(*(one(sent) for sent in exchanges))


async def both(
    lane_app: Any, reference_app: Any, exchanges: list[Sent], quiet: float = 0.3
) -> list[tuple[Sent, Answer, Answer]]:
    async with served(lane_app, "lane") as lane, served(reference_app, "reference") as reference:
        ours, theirs = await asyncio.gather(answers(lane, exchanges, quiet), answers(reference, exchanges, quiet))
        assert lane.service is not None
        return list(zip(exchanges, ours, theirs, strict=True))


def same(sent: Sent, ours: Answer, theirs: Answer) -> bool:
    return ours[0].startswith(b"HTTP/1.1 400 ") if sent.races else ours == theirs


def told(sent: Sent, ours: Answer, theirs: Answer) -> str:
    return f"{sent.name}: lane {ours[0][:600]!r} closed={ours[1]}, Hypercorn {theirs[0][:600]!r} closed={theirs[1]}"


APPS = {
    "asgi": (lambda: asgi_app, lambda: asgi_app),
    "quart": (make_quart, make_quart),
    "lean": (lambda: make_quart(LeanApp), make_quart),
}


@pytest.mark.limit_s(300)  # hundreds of exchanges, twice each
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("kind", APPS)
def test_every_difference_is_documented(kind: str, loop: str) -> None:
    ours, theirs = APPS[kind]
    results = run(both(ours(), theirs(), list(EXCHANGES)), loop)
    unexpected = [sent for sent, one, other in results if not sent.differs and not same(sent, one, other)]
    if unexpected:  # a busy machine may have been quiet for too long; a difference is there with patience as well
        results = run(both(ours(), theirs(), unexpected, quiet=6.0), loop)
    really = [told(*result) for result in results if not result[0].differs and not same(*result)]
    assert not really, "\n" + "\n".join(really)


def test_every_documented_difference_is_real() -> None:
    results = run(both(asgi_app, asgi_app, [sent for sent in EXCHANGES if sent.differs]))
    real = {sent.differs for sent, ours, theirs in results if ours != theirs}
    assert real == {sent.differs for sent in EXCHANGES if sent.differs}


def test_the_list_of_differences_is_in_the_docs() -> None:
    documented = set(re.findall(r"^\| `([a-z0-9.-]+)` \|", DOCS.read_text(), re.MULTILINE))
    assert {sent.differs for sent in EXCHANGES if sent.differs} <= documented


def test_there_are_enough_exchanges() -> None:
    assert len(EXCHANGES) >= 300
    assert len({sent.name for sent in EXCHANGES}) == len(EXCHANGES)


def final(data: bytes) -> bytes:
    """Return `data` without what may differ, nor the 100: it comes only where the app asks before the body is there."""
    return re.sub(rb"^HTTP/1\.1 100 [^\r]*\r\n(?:[^\r\n]+\r\n)*\r\n", b"", normal(data))


@pytest.mark.parametrize("name", SPLIT)
def test_split_at_every_byte(name: str) -> None:
    """However the bytes come, the answer is the same."""
    sent = next(sent for sent in EXCHANGES if sent.name == name)
    whole = b"".join(sent.parts)

    async def split() -> None:
        async with served(asgi_app) as server:
            expected = final((await server.exchange(whole))[0])
            gate = asyncio.Semaphore(AT_ONCE)

            async def one(index: int) -> tuple[int, bytes]:
                async with gate:
                    data = final((await server.exchange(whole[:index], whole[index:]))[0])
                    if data != expected:  # too busy a machine, or a difference that is there with patience as well
                        data = final((await server.exchange(whole[:index], whole[index:], quiet=2.0))[0])
                    return index, data

            for index, data in await asyncio.gather(*(one(index) for index in range(1, len(whole)))):
                assert data == expected, f"split at {index}"

    run(split())


@pytest.mark.parametrize("name", SPLIT)
def test_byte_by_byte(name: str) -> None:
    sent = next(sent for sent in EXCHANGES if sent.name == name)
    whole = b"".join(sent.parts)

    async def drip() -> None:
        async with served(asgi_app) as server:
            expected = final((await server.exchange(whole))[0])
            reader, writer = await server.connect()
            received = b""
            for index in range(len(whole)):
                if writer.transport.is_closing():  # the server, on a busy machine, has waited long enough for the rest
                    break
                writer.write(whole[index : index + 1])
                await asyncio.sleep(0)
                await asyncio.sleep(0.0005)
            try:
                while final(received) != expected:
                    if not (data := await asyncio.wait_for(reader.read(1 << 16), 2.0)):
                        break
                    received += data
            except (TimeoutError, ConnectionError):
                pass
            writer.close()
            assert final(received) == expected

    run(drip())
