"""The limits of a worker, seen from a client, on the lane and as far as they apply on the Hypercorn path."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from typing import Any

import pytest
from lane_server import Served, eventually, run, served
from quart import Quart, request

from aeros.worker.http1 import slow_clients
from aeros.worker.lane.limits import Limits

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def make_app() -> Quart:
    app = Quart(__name__)
    app.running = app.most = app.cancelled = 0  # type: ignore[attr-defined]

    @app.get("/")
    async def home() -> str:
        return "home"

    @app.post("/")
    async def echo() -> str:
        return str(len(await request.get_data()))

    @app.get("/slow")
    async def slow() -> str:
        app.running += 1  # type: ignore[attr-defined]
        app.most = max(app.most, app.running)  # type: ignore[attr-defined]
        try:
            await asyncio.sleep(float(request.args.get("s", "0.2")))
        except asyncio.CancelledError:
            app.cancelled += 1  # type: ignore[attr-defined]
            raise
        finally:
            app.running -= 1  # type: ignore[attr-defined]
        return "slow"

    @app.get("/stream")
    async def stream() -> Any:
        async def parts():
            while True:
                yield b"part"
                await asyncio.sleep(0.05)

        return parts()

    @app.get("/big")
    async def big() -> bytes:
        return b"x" * 30_000_000

    return app


async def status(server: Served, *parts: bytes, quiet: float = 3.0) -> int:
    data, _ = await server.exchange(
        *(part.replace(b"a\r\n", b"a\r\nConnection: close\r\n", 1) for part in parts), quiet=quiet
    )
    found = re.match(rb"HTTP/1\.1 (\d+)", data)
    return int(found[1]) if found else 0


def statuses(data: bytes) -> list[int]:
    return [int(code) for code in re.findall(rb"HTTP/1\.1 (\d+) ", data)]


BOTH = pytest.mark.parametrize("path", ["lane", "hypercorn"])


def test_head_that_trickles_in_is_answered_with_408() -> None:
    async def main() -> None:
        limits = Limits(header_timeout_s=0.3)
        async with served(make_app(), limits=limits) as server:
            begun = time.monotonic()
            reader, writer = await server.connect()
            # A first request in one piece, then one that keeps sending and never ends.
            writer.write(GET)
            assert b"home" in await reader.read(1000)
            writer.write(b"GET / HTTP/1.1\r\n")
            received = b""
            while not received:
                writer.write(b"X: y\r\n")
                try:
                    received = await asyncio.wait_for(reader.read(1000), 0.05)
                except TimeoutError:
                    assert time.monotonic() - begun < 3
            assert statuses(received) == [408]
            assert time.monotonic() - begun >= 0.3

    run(main())


def test_the_clock_of_a_head_ends_with_the_head() -> None:
    async def main() -> None:
        async with served(make_app(), limits=Limits(header_timeout_s=0.2)) as server:
            slow = GET.replace(b"/ ", b"/slow?s=0.5 ", 1)
            assert await status(server, slow[:10], slow[10:]) == 200

    run(main())


def test_the_clock_of_a_head_ends_with_its_last_line_end() -> None:
    """It came by itself, and could pass for an empty line."""

    async def main() -> None:
        async with served(make_app(), limits=Limits(header_timeout_s=0.5)) as server:
            reader, writer = await server.connect()
            for _ in range(3):
                writer.write(GET[:-4])
                await asyncio.sleep(0.2)
                writer.write(GET[-4:])
                assert b"home" in await reader.read(1000)
            writer.close()

    run(main())


def test_body_that_trickles_in_is_answered_with_408(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_clients, "BODY_WINDOW_S", 0.3)

    async def main() -> None:
        async with served(make_app(), limits=Limits(min_data_rate=1000)) as server:
            reader, writer = await server.connect()
            writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 400)
            received = b""
            for _ in range(60):
                writer.write(b"x")
                try:
                    received = await asyncio.wait_for(reader.read(1000), 0.05)
                    break
                except TimeoutError:
                    continue
            assert statuses(received) == [408]
            # Fast enough: 100 bytes each 50 ms are 2000 per second.
            reader, writer = await server.connect()
            writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n")
            for _ in range(20):
                writer.write(b"x" * 100)
                await asyncio.sleep(0.05)
            assert statuses(await asyncio.wait_for(reader.read(1000), 3)) == [200]

    run(main())


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_client_that_reads_nothing_is_cut(loop: str) -> None:
    async def main() -> None:
        async with served(make_app(), limits=Limits(write_timeout_s=0.3)) as server:
            sock = socket.create_connection(("127.0.0.1", server.port))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.sendall(GET.replace(b"/ ", b"/big ", 1))
            assert server.service is not None
            lane = server.connections
            await eventually(lambda: lane.running == 1)
            await eventually(lambda: not lane.open and not lane.running, 5)
            sock.close()
            # One that reads slowly, but reads, gets all of it.
            reader, writer = await server.connect(limit=1 << 16)
            writer.write(GET.replace(b"/ ", b"/big ", 1))
            size = 0
            while size < 30_000_000:
                data = await asyncio.wait_for(reader.read(1 << 20), 5)
                assert data
                size += len(data)

    run(main(), loop)


def test_sizes_of_line_and_fields() -> None:
    async def main() -> None:
        async with served(make_app(), limits=Limits(request_line_bytes=100, request_fields=5)) as server:
            long = b"GET /?" + b"x" * 200 + b" HTTP/1.1\r\nHost: a\r\n\r\n"
            assert await status(server, long) == 414
            assert await status(server, long[:150], long[150:]) == 414
            assert await status(server, GET[:-2] + b"X: y\r\n" * 3 + b"\r\n") == 200
            assert await status(server, GET[:-2] + b"X: y\r\n" * 4 + b"\r\n") == 431

    run(main())


@BOTH
def test_size_of_a_body(path: str) -> None:
    async def main() -> None:
        async with served(make_app(), path, limits=Limits(body_bytes=1000)) as server:
            head = b"POST / HTTP/1.1\r\nHost: a\r\n"
            assert await status(server, head + b"Content-Length: 1000\r\n\r\n" + b"x" * 1000) == 200
            assert await status(server, head + b"Content-Length: 1001\r\n\r\n" + b"x" * 1001) == 413
            chunk = b"190\r\n" + b"x" * 400 + b"\r\n"
            chunked = head + b"Transfer-Encoding: chunked\r\n\r\n"
            assert await status(server, chunked + 2 * chunk + b"0\r\n\r\n") == 200
            assert await status(server, chunked + 3 * chunk + b"0\r\n\r\n") == 413

    run(main())


@BOTH
def test_requests_beyond_concurrency_and_queue_get_503(path: str) -> None:
    async def main() -> None:
        app = make_app()
        async with served(app, path, limits=Limits(concurrency=3, queue=2)) as server:
            answers = await asyncio.gather(
                *(server.exchange(GET.replace(b"/ ", b"/slow ", 1), quiet=0.7) for _ in range(8))
            )
            codes = sorted(statuses(data)[0] for data, _ in answers)
            assert codes == [200] * 5 + [503] * 3
            assert app.most == 3  # type: ignore[attr-defined]
            refused = next(data for data, _ in answers if b" 503 " in data)
            assert b"retry-after: 1" in refused.lower()
            assert server.service is not None and server.service.overload is not None
            overload = server.service.overload
            await eventually(lambda: overload.active == 0 and overload.waiting == 0)
            assert await status(server, GET) == 200

    run(main())


def test_pipelined_requests_that_are_turned_away_do_not_nest() -> None:
    async def main() -> None:
        async with served(make_app(), limits=Limits(concurrency=1, queue=0)) as server:
            _, holder = await server.connect()
            holder.write(GET.replace(b"/ ", b"/slow?s=30 ", 1))
            assert server.service is not None
            lane = server.connections
            await eventually(lambda: lane.running == 1)
            data, _ = await server.exchange(GET * 900, quiet=1)
            assert statuses(data) == [503] * 900

    run(main())


def test_who_leaves_the_queue_is_not_served() -> None:
    async def main() -> None:
        app = make_app()
        async with served(app, limits=Limits(concurrency=1, queue=1)) as server:
            assert server.service is not None and server.service.overload is not None
            lane, overload = server.connections, server.service.overload
            _, first = await server.connect()
            first.write(GET.replace(b"/ ", b"/slow?s=0.5 ", 1))
            await eventually(lambda: overload.active == 1)
            _, second = await server.connect()
            second.write(GET.replace(b"/ ", b"/slow ", 1))
            await eventually(lambda: overload.waiting == 1)
            second.transport.abort()
            await eventually(lambda: len(lane.open) == 1)
            # Its place is another's now.
            assert await status(server, GET) == 200
            await eventually(lambda: lane.running == 0)
            assert overload.active == 0

    run(main())


@pytest.mark.parametrize("path", ["lane", "behind middleware", "hypercorn"])
def test_request_that_takes_too_long(path: str) -> None:
    async def main(path: str) -> None:
        app = make_app()
        if path == "behind middleware":  # so that the lane has to serve it by ASGI messages
            inner = app.asgi_app

            async def middleware(scope: Any, receive: Any, send: Any) -> None:
                await inner(scope, receive, send)

            app.asgi_app, path = middleware, "lane"  # type: ignore[method-assign]
        async with served(app, path, limits=Limits(request_timeout_s=0.2)) as server:
            assert await status(server, GET) == 200
            assert await status(server, GET.replace(b"/ ", b"/slow?s=30 ", 1)) == 504
            await eventually(lambda: app.cancelled == 1)  # type: ignore[attr-defined]
            begun = time.monotonic()
            data, closed = await server.exchange(GET.replace(b"/ ", b"/stream ", 1), quiet=2)
            assert closed and time.monotonic() - begun < 1.5
            assert statuses(data) == [200] and not data.endswith(b"0\r\n\r\n")
            assert server.service is not None
            lane = server.connections
            await eventually(lambda: lane.running == 0 and not lane.open)

    run(main(path))


def shedding_app() -> Quart:
    app = make_app()
    app.order = []  # type: ignore[attr-defined]

    @app.get("/named/<name>")
    async def named(name: str) -> str:
        app.order.append(name)  # type: ignore[attr-defined]
        return name

    @app.get("/work")
    async def work() -> str:
        app.running += 1  # type: ignore[attr-defined]
        app.most = max(app.most, app.running)  # type: ignore[attr-defined]
        for _ in range(4):
            until = time.thread_time() + 0.002
            while time.thread_time() < until:
                pass
            await asyncio.sleep(0)
        app.running -= 1  # type: ignore[attr-defined]
        return "done"

    return app


@BOTH
def test_with_a_queue_timeout_the_newest_goes_first(path: str) -> None:
    async def main() -> None:
        app = shedding_app()
        async with served(app, path, limits=Limits(concurrency=1, queue=None, queue_timeout_s=30)) as server:
            assert server.service is not None and server.service.overload is not None
            overload = server.service.overload
            _, holder = await server.connect()
            holder.write(GET.replace(b"/ ", b"/slow?s=0.3 ", 1))
            await eventually(lambda: overload.active == 1)
            readers = []
            for number, name in enumerate((b"first", b"second", b"third"), 1):
                reader, writer = await server.connect()
                writer.write(GET.replace(b"/ ", b"/named/%s " % name, 1))
                readers.append(reader)
                await eventually(lambda number=number: overload.waiting == number)
            for reader in readers:
                assert statuses(await asyncio.wait_for(reader.read(1000), 3)) == [200]
            assert app.order == ["third", "second", "first"]  # type: ignore[attr-defined]
            await eventually(lambda: overload.active == 0 and overload.waiting == 0)

    run(main())


@BOTH
def test_who_waited_for_the_queue_timeout_gets_503(path: str) -> None:
    async def main() -> None:
        app = shedding_app()
        async with served(app, path, limits=Limits(concurrency=1, queue=None, queue_timeout_s=0.2)) as server:
            assert server.service is not None and server.service.overload is not None
            overload = server.service.overload
            _, holder = await server.connect()
            holder.write(GET.replace(b"/ ", b"/slow?s=30 ", 1))
            await eventually(lambda: overload.active == 1)
            begun = time.monotonic()
            # The connection stays open, and what was sent ahead on it gets its turn.
            reader, writer = await server.connect()
            writer.write(GET + GET.replace(b"a\r\n", b"a\r\nConnection: close\r\n", 1))
            data = await asyncio.wait_for(reader.read(-1), 5)
            assert statuses(data) == [503, 503]
            assert data.lower().count(b"retry-after: 1") == 2
            assert 0.4 <= time.monotonic() - begun < 3
            assert overload.waiting == 0 and app.order == []  # type: ignore[attr-defined]

    run(main())


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@BOTH
def test_with_a_queue_timeout_what_computes_takes_turns_and_what_waits_does_not(path: str, loop: str) -> None:
    async def main() -> None:
        app = shedding_app()
        async with served(app, path, limits=Limits(queue=None, queue_timeout_s=30)) as server:
            asked = [status(server, GET.replace(b"/ ", b"/work ", 1)) for _ in range(12)]
            assert await asyncio.gather(*asked) == [200] * 12
            assert app.most <= 3  # type: ignore[attr-defined]
            begun = time.monotonic()
            asked = [status(server, GET.replace(b"/ ", b"/slow?s=0.5 ", 1)) for _ in range(12)]
            assert await asyncio.gather(*asked) == [200] * 12
            assert app.most >= 10  # type: ignore[attr-defined]
            assert time.monotonic() - begun < 3

    run(main(), loop)


def test_a_full_queue_turns_the_oldest_away() -> None:
    async def main() -> None:
        async with served(make_app(), limits=Limits(concurrency=1, queue=1, queue_timeout_s=30)) as server:
            assert server.service is not None and server.service.overload is not None
            overload = server.service.overload
            _, holder = await server.connect()
            holder.write(GET.replace(b"/ ", b"/slow?s=30 ", 1))
            await eventually(lambda: overload.active == 1)
            old, writer = await server.connect()
            writer.write(GET)
            await eventually(lambda: overload.waiting == 1)
            _, newer = await server.connect()
            newer.write(GET)
            assert statuses(await asyncio.wait_for(old.read(1000), 3)) == [503]
            assert overload.waiting == 1

    run(main())
