"""Files a Quart app answers with: the same to a client as by Quart's own way, in fewer trips to threads."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from apps import DIRECT, LeanApp
from lane_server import eventually, normal, run, served
from quart import Response, send_file
from quart.wrappers.response import FileBody

LOOPS = ["uvloop", "asyncio"]
DATA = bytes(range(256)) * 1200  # 300 KiB: several pieces


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "large.bin").write_bytes(DATA)
    (tmp_path / "small.txt").write_bytes(b"small")
    (tmp_path / "empty.txt").write_bytes(b"")
    return tmp_path


def make_app(folder: Path) -> Any:
    app = LeanApp("files", static_folder=str(folder), static_url_path="/static")

    @app.get("/unsized")
    async def unsized() -> Response:
        response = await send_file(folder / "large.bin")
        del response.headers["Content-Length"]
        return response

    @app.get("/shrunk")
    async def shrunk() -> Response:
        response = await send_file(folder / "large.bin")
        os.truncate(folder / "large.bin", 100_000)
        return response

    @app.get("/gone")
    async def gone() -> Response:
        response = await send_file(folder / "small.txt")
        (folder / "small.txt").unlink()
        return response

    @app.get("/part")
    async def part() -> Response:
        response = Response(FileBody(folder / "large.bin", buffer_size=1 << 17))
        await response.response.make_conditional(1000, 200_000)  # type: ignore[union-attr]
        response.content_length = 199_000
        return response

    return app


def get(path: str, extra: str = "", method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{extra}\r\n".encode()


REQUESTS = {
    "large": get("/static/large.bin"),
    "small": get("/static/small.txt"),
    "empty": get("/static/empty.txt"),
    "missing": get("/static/missing.txt"),
    "head": get("/static/large.bin", method="HEAD"),
    "range": get("/static/large.bin", "Range: bytes=70000-200000\r\n"),
    "suffix": get("/static/large.bin", "Range: bytes=-10\r\n"),
    "unsatisfiable": get("/static/large.bin", "Range: bytes=400000-\r\n"),
    "fresh": get("/static/small.txt", "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n"),
    "unsized": get("/unsized"),
    "part": get("/part"),
}


def _body(answer: bytes) -> tuple[bytes, bytes]:
    """Return (head, body), a chunked body joined: how it is cut into chunks is nobody's concern."""
    head, _, rest = normal(answer).partition(b"\r\n\r\n")
    head = b"\r\n".join(line for line in head.split(b"\r\n") if not line.startswith(b"expires:"))  # tells the time
    if b"chunked" not in head:
        return head, rest
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
    return head, body


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("what", REQUESTS)
def test_a_file_is_sent_as_by_quart(what: str, loop: str, folder: Path) -> None:
    app = make_app(folder)

    async def check() -> None:
        answers = []
        for path in ("lane", "reference"):
            async with served(app, path) as server:
                answer, closed = await server.exchange(REQUESTS[what], quiet=3)
                assert closed
                answers.append(_body(answer))
        assert answers[0] == answers[1]
        if what == "large":
            assert answers[0][1] == DATA

    run(check(), loop)


def test_a_file_that_became_shorter_is_cut_off(folder: Path) -> None:
    app = make_app(folder)

    async def check() -> None:
        async with served(app) as server:
            answer, closed = await server.exchange(get("/shrunk"), quiet=3)
            assert closed
            assert answer.startswith(b"HTTP/1.1 200")
            assert answer.partition(b"\r\n\r\n")[2] == DATA[:100_000]

    run(check())


@DIRECT  # Quart opens it when the head has been sent
def test_a_file_that_has_gone_is_an_error(folder: Path) -> None:
    app = make_app(folder)

    async def check() -> None:
        async with served(app) as server:
            answer, _ = await server.exchange(get("/gone"), quiet=3)
            assert answer.startswith(b"HTTP/1.1 500")

    run(check())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_slow_client_holds_reading_back_and_one_that_leaves_ends_it(loop: str, folder: Path) -> None:
    path = folder / "huge.bin"
    with path.open("wb") as file:
        file.truncate(64 << 20)
    app = make_app(folder)

    def opened() -> list[str]:
        return [line for line in _positions(path) if line]

    async def check() -> None:
        async with served(app) as server:
            reader, writer = await server.connect()
            writer.write(get("/static/huge.bin"))
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(0.3)
            assert server.service is not None
            (connection,) = server.connections.open
            assert connection.transport.get_write_buffer_size() <= 1 << 18  # type: ignore[attr-defined]
            (position,) = opened()
            assert int(position) < 32 << 20  # the rest is in the kernel's buffers
            writer.transport.abort()
            lane = server.connections
            await eventually(lambda: not lane.open and not lane.running)
            await eventually(lambda: not opened())

    run(check(), loop)


def _positions(path: Path) -> list[str]:
    """Return how far each of our descriptors of the file has come."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            if link.readlink() == path:
                found.append(Path("/proc/self/fdinfo", link.name).read_text().split()[1])
        except OSError:
            continue
    return found


def test_a_body_class_of_the_apps_own_is_asked_itself(folder: Path) -> None:
    class Shouting(FileBody):
        async def __anext__(self) -> bytes:
            return (await super().__anext__()).upper()

    class Answer(Response):
        file_body_class = Shouting

    app = make_app(folder)
    app.response_class = Answer

    async def check() -> None:
        async with served(app) as server:
            answer, _ = await server.exchange(get("/static/small.txt"), quiet=3)
            assert answer.endswith(b"\r\n\r\nSMALL")

    run(check())
