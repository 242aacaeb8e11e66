"""What the fast lane promises beyond single exchanges: time, size, order, and what the app sees of a client."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from typing import Any

import pytest
from apps import DIRECT, LeanApp, asgi_app, make_quart
from lane_server import Served, eventually, normal, quiet_config, run, served
from quart import Quart, Response, request

from aeros.worker.http1 import body
from aeros.worker.lane.limits import Limits

LOOPS = ["uvloop", "asyncio"]
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def get(path: str, extra: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n{extra}\r\n".encode()


class Counting:
    """Counters that remember."""

    def __init__(self) -> None:
        self.open = self.started = self.sockets = self.bytes_in = self.bytes_out = 0
        self.finished: list[tuple[int, int, int, float]] = []

    def connection_opened(self) -> None:
        self.open += 1

    def connection_closed(self) -> None:
        self.open -= 1

    def request_started(self) -> None:
        self.started += 1

    def request_finished(self, status: int, bytes_in: int, bytes_out: int, seconds: float) -> None:
        self.finished.append((status, bytes_in, bytes_out, seconds))

    def websocket_opened(self) -> None:
        self.sockets += 1

    def websocket_closed(self) -> None:
        self.sockets -= 1

    def websocket_bytes(self, bytes_in: int, bytes_out: int) -> None:
        self.bytes_in += bytes_in
        self.bytes_out += bytes_out


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("path", ["lane", "reference"])
def test_idle_connection_is_closed_after_the_keep_alive_time(path: str, loop: str) -> None:
    async def check() -> None:
        async with served(asgi_app, path, quiet_config(keep_alive_timeout=0.3)) as server:
            clock = asyncio.get_running_loop()
            for sent in (b"", b"GET / HT", GET):
                reader, writer = await server.connect()
                begun = clock.time()
                writer.write(sent)
                data = await asyncio.wait_for(reader.read(-1), 2)
                assert 0.2 < clock.time() - begun < 1
                assert data.startswith(b"HTTP/1.1 200") == (sent == GET)
                writer.close()

    run(check(), loop)


def test_bytes_do_not_keep_a_slow_head_alive() -> None:
    async def check() -> None:
        async with served(asgi_app, config=quiet_config(keep_alive_timeout=0.3)) as server:
            reader, writer = await server.connect()
            begun = asyncio.get_running_loop().time()
            for _ in range(40):
                writer.write(b"G")
                await asyncio.sleep(0.02)
                if reader.at_eof() or writer.is_closing():
                    break
            with contextlib.suppress(ConnectionResetError):  # a byte crossed the end
                assert await reader.read(-1) == b""
            assert asyncio.get_running_loop().time() - begun < 0.8
            writer.close()

    run(check())


def test_a_long_response_outlives_the_keep_alive_time() -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.5)
        await asgi_app(scope, receive, send)

    async def check() -> None:
        async with served(slow, config=quiet_config(keep_alive_timeout=0.2)) as server:
            data, closed = await server.exchange(get("/text"), quiet=1)
            assert data.endswith(b"text")
            assert closed

    run(check())


def test_read_timeout_ends_a_stalled_body() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] != "http.disconnect":
            seen.append(message["body"])
        seen.append("gone")

    async def check() -> None:
        async with served(app, config=quiet_config(read_timeout=0.2)) as server:
            data, closed = await server.exchange(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab", quiet=2)
            assert (data, closed) == (b"", True)
            await eventually(lambda: seen == [b"ab", "gone"])

    run(check())


@pytest.mark.parametrize("path", ["lane", "reference"])
def test_keep_alive_max_requests(path: str) -> None:
    async def check() -> None:
        async with served(asgi_app, path, quiet_config(keep_alive_max_requests=3)) as server:
            data, closed = await server.exchange(*[get("/text")] * 4)
            assert closed
            assert data.count(b"HTTP/1.1 200") == 3
            assert data.count(b"connection: close") == 1

    run(check())


@pytest.mark.parametrize(
    "settings",
    [
        {"include_date_header": False},
        {"include_server_header": False},
        {"alt_svc_headers": ['h3=":443"; ma=3600', 'h3-29=":443"']},
        {"h11_pass_raw_headers": True},
        {"server_names": ["a"]},
        {"h11_max_incomplete_size": 200},
    ],
    ids=lambda settings: next(iter(settings)),
)
@pytest.mark.parametrize("kind", ["asgi", "quart"])
def test_settings_mean_what_they_mean_to_hypercorn(kind: str, settings: dict[str, Any]) -> None:
    app: Any = asgi_app if kind == "asgi" else make_quart()
    last = "Connection: close\r\n"
    sent = [get("/root/x?y=z", f"X-Ab: c\r\n{last}"), get("/x", last), get("/", f"X: {'v' * 300}\r\n{last}")]
    if "h11_max_incomplete_size" in settings:
        sent = [get("/"), b"GET / HTTP/1.1\r\nX: " + b"v" * 300]

    async def check() -> None:
        answers = []
        for path in ("lane", "reference"):
            async with served(app, path, quiet_config(**settings)) as server:
                answers.append([(normal((await server.exchange(one))[0])) for one in sent])
        assert answers[0] == answers[1]

    run(check())


def test_unknown_server_name_is_answered_and_closed() -> None:
    async def check() -> None:
        config = quiet_config(server_names=["b"])
        async with served(asgi_app, "lane", config) as lane, served(asgi_app, "reference", config) as reference:
            ours, theirs = await lane.exchange(GET), await reference.exchange(GET)
            assert normal(ours[0]) == normal(theirs[0])
            assert ours[0].startswith(b"HTTP/1.1 404")
            assert ours[1]

    run(check())


def test_the_date_is_not_older_than_a_second() -> None:
    async def check() -> None:
        async with served(asgi_app) as server:
            dates = set()
            for _ in range(4):
                data, _ = await server.exchange(get("/text", "Connection: close\r\n"))
                dates.update(re.findall(rb"date: ([^\r]*)", data))
                await asyncio.sleep(0.5)
            assert len(dates) >= 2

    run(check())


@pytest.mark.parametrize("loop", LOOPS)
def test_an_asgi_app_that_does_not_read_holds_the_client_back(loop: str) -> None:
    received: list[int] = []
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        more, length = True, 0
        while more:
            message = await receive()
            length += len(message["body"])
            more = message["more_body"]
        received.append(length)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    size = 64 << 20

    async def check() -> None:
        async with served(app) as server:
            reader, writer = await server.connect()
            writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
            block = bytes(1 << 20)

            async def send() -> None:
                for _ in range(size >> 20):
                    writer.write(block)
                    await writer.drain()

            sending = asyncio.create_task(send())
            await asyncio.sleep(0.3)
            assert server.service is not None
            (connection,) = server.connections.open
            assert connection._exchange.buffered() < (1 << 16) + (1 << 18)  # type: ignore[attr-defined]
            assert not sending.done()
            go.set()
            await asyncio.wait_for(sending, 10)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            assert received == [size]
            writer.close()

    run(check(), loop)


@DIRECT
@pytest.mark.parametrize("loop", LOOPS)
def test_a_quart_handler_that_iterates_slowly_holds_the_client_back(loop: str) -> None:
    app = Quart("slow")
    app.config["MAX_CONTENT_LENGTH"] = None
    most = 0
    total = 0

    @app.post("/")
    async def upload() -> str:
        nonlocal most, total
        await asyncio.sleep(0.1)
        async for piece in request.body:
            most = max(most, len(piece))
            total += len(piece)
            if total < 1 << 20:
                await asyncio.sleep(0.01)
        return "done"

    size = 32 << 20

    async def check() -> None:
        async with served(app) as server:
            reader, writer = await server.connect()
            writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
            for _ in range(size >> 20):
                writer.write(bytes(1 << 20))
                await asyncio.wait_for(writer.drain(), 5)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            assert total == size
            assert most < (1 << 16) + (1 << 18)
            writer.close()

    run(check(), loop)


def test_a_quart_handler_that_awaits_the_body_gets_all_of_it() -> None:
    app = Quart("whole")

    @app.post("/")
    async def upload() -> str:
        await asyncio.sleep(0.1)  # long enough for reading to have paused
        return str(len(await request.get_data()))

    async def check() -> None:
        async with served(app) as server:
            head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
            sized = head + b"Content-Length: 5000000\r\n\r\n" + bytes(5000000)
            data, _ = await server.exchange(sized, quiet=3)
            assert data.endswith(b"5000000")
            large = head + b"Content-Length: 17000000\r\n\r\n" + bytes(17000000)
            data, _ = await server.exchange(large, quiet=3)
            assert data.startswith(b"HTTP/1.1 413")
            pieces = b"".join(b"100000\r\n" + bytes(1 << 20) + b"\r\n" for _ in range(18))
            data, _ = await server.exchange(
                head + b"Transfer-Encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n", quiet=3
            )
            assert data.startswith(b"HTTP/1.1 413")

    run(check())


@DIRECT
@pytest.mark.parametrize("loop", LOOPS)
def test_a_large_body_is_read_to_where_it_stays(loop: str) -> None:
    app = Quart("landing")
    changes: list[bool] = []

    @app.post("/")
    async def upload() -> bytes:
        waiting = asyncio.ensure_future(request.body)
        await asyncio.sleep(0.02)
        (connection,) = lane().open
        changes.append(bool(connection._body and connection._body.landing))  # type: ignore[attr-defined]
        return await waiting

    def lane() -> Any:
        assert running.service is not None
        return running.connections

    async def check() -> None:
        nonlocal running
        async with served(app) as server:
            running = server
            for size in (1 << 20, 3_000_000):
                # Every byte at its place, and the next request right behind.
                body = bytes(number % 251 for number in range(size))
                one = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + body
                reader, writer = await server.connect(limit=1 << 23)
                for _ in range(2):
                    writer.write(one[:-1])
                    await asyncio.sleep(0.1)
                    writer.write(one[-1:] + one)
                    for _ in range(2):
                        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
                        assert head.startswith(b"HTTP/1.1 200")
                        assert await asyncio.wait_for(reader.readexactly(size), 5) == body
                writer.close()

    running: Served
    run(check(), loop)
    assert any(changes)


@DIRECT
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("end", ["timeout", "leaves", "half-closes", "refused", "stop"])
def test_a_landing_body_may_end_early(end: str, loop: str) -> None:
    app = Quart("landing")
    app.config["BODY_TIMEOUT"] = 0.3 if end == "timeout" else 20
    outcome: list[str] = []

    @app.post("/")
    async def upload() -> Any:
        try:
            return await request.get_data()
        except BaseException as error:
            outcome.append(type(error).__name__)
            raise

    async def check() -> None:
        limits = Limits(request_timeout_s=0.3) if end == "refused" else None
        async with served(app, limits=limits) as server:
            reader, writer = await server.connect()
            assert server.service is not None
            lane = server.connections
            writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n" + bytes(1_500_000))
            await eventually(lambda: any(connection._body and connection._body.landing for connection in lane.open))  # type: ignore[attr-defined]
            if end == "leaves":
                writer.transport.abort()
                await eventually(lambda: not lane.open)
            elif end == "stop":
                lane.begin_drain("stop")
                lane.abort()
            else:
                if end == "half-closes":
                    writer.write_eof()
                answer = await asyncio.wait_for(reader.read(), 5)
                status = {"timeout": b"408", "half-closes": b"400", "refused": b"504"}[end]
                assert answer.startswith(b"HTTP/1.1 " + status)
                writer.close()
            await eventually(lambda: not lane.open and not lane.running)
        assert outcome == ["RequestTimeout" if end == "timeout" else "CancelledError"]

    run(check(), loop)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("kind", ["asgi", "quart"])
def test_a_client_that_does_not_read_holds_the_app_back(kind: str, loop: str) -> None:
    produced = 0
    piece = bytes(1 << 16)

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        nonlocal produced
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1000):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            produced += 1
        await send({"type": "http.response.body"})

    app = Quart("pieces")

    @app.get("/")
    async def pieces() -> Any:
        async def make() -> Any:
            nonlocal produced
            for _ in range(1000):
                yield piece
                produced += 1

        return make()

    async def check() -> None:
        async with served(asgi if kind == "asgi" else app) as server:
            reader, writer = await server.connect(limit=1 << 12)
            writer.write(get("/", "Connection: close\r\n"))
            await asyncio.sleep(0.4)
            held = produced
            assert held < 400  # the sockets' buffers take some megabytes
            total = 0
            while data := await asyncio.wait_for(reader.read(1 << 16), 5):
                total += len(data)
            assert produced == 1000
            assert total > 1000 * len(piece)
            writer.close()

    run(check(), loop)


def test_pipelined_requests_are_answered_in_order_one_at_a_time() -> None:
    running = 0
    most = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02 if scope["path"] == "/0" else 0.001)
        running -= 1
        body = scope["path"].encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    async def check() -> None:
        async with served(app) as server:
            data, _ = await server.exchange(b"".join(get(f"/{i}") for i in range(50)))
            assert re.findall(rb"\r\n\r\n/(\d+)", data) == [b"%d" % i for i in range(50)]
            assert most == 1

    run(check())


def test_read_ahead_is_bounded() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(30)

    async def check() -> None:
        async with served(app) as server:
            _, writer = await server.connect()
            writer.write(GET * 100000)
            await asyncio.sleep(0.3)
            assert server.service is not None
            (connection,) = server.connections.open
            assert len(connection._ahead) < (1 << 16) + (1 << 18)  # type: ignore[attr-defined]
            writer.close()

    run(check())


@pytest.mark.parametrize("loop", LOOPS)
def test_an_asgi_app_sees_the_client_go(loop: str) -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            seen.append(message["type"])
            if message["type"] == "http.disconnect":
                break
        with pytest.raises(OSError, match="the client is gone"):
            await send({"type": "http.response.start", "status": 200, "headers": []})
        seen.append("returned")

    async def check() -> None:
        counters = Counting()
        async with served(app, counters=counters) as server:
            _, writer = await server.connect()
            writer.write(GET)
            await eventually(lambda: seen == ["http.request"])
            writer.close()
            await eventually(lambda: seen == ["http.request", "http.disconnect", "returned"])
            await eventually(lambda: counters.open == 0 and len(counters.finished) == 1)

    run(check(), loop)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("when", ["handler", "stream"])
def test_a_quart_handler_is_cancelled_when_the_client_goes(when: str, loop: str) -> None:
    app = Quart("cancelled")
    seen: list[str] = []

    @app.teardown_request
    async def teardown(error: BaseException | None) -> None:
        seen.append(f"teardown {type(error).__name__}")

    async def wait() -> None:
        seen.append("waiting")
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    @app.get("/handler")
    async def handler() -> str:
        await wait()
        return ""

    @app.get("/stream")
    async def stream() -> Any:
        async def pieces() -> Any:
            yield b"one"
            await wait()

        return pieces()

    async def check() -> None:
        async with served(app) as server:
            _, writer = await server.connect()
            writer.write(get(f"/{when}"))
            await eventually(lambda: "waiting" in seen)
            writer.close()
            await eventually(lambda: "cancelled" in seen)
            if when == "handler":
                await eventually(lambda: seen[-1] == "teardown CancelledError")
            assert server.service is not None
            await eventually(lambda: len(server.connections.open) == 0)  # type: ignore[union-attr]

    run(check(), loop)


@pytest.mark.parametrize("kind", ["asgi", "quart"])
def test_a_quick_answer_reaches_a_client_that_closed_its_side(kind: str) -> None:
    app: Any = asgi_app if kind == "asgi" else make_quart(LeanApp)

    async def check() -> None:
        async with served(app) as server:
            for _ in range(50):
                data, closed = await server.exchange(get("/text"), half_close=True)
                assert data.endswith(b"text")
                assert closed
                reader, writer = await server.connect()
                writer.write(get("/text") * 3)
                writer.write_eof()
                assert (await asyncio.wait_for(reader.read(-1), 2)).count(b"text") >= 3
                writer.close()

    run(check())


def test_headers_of_a_stream_do_not_wait_for_its_first_piece() -> None:
    app = Quart("late")

    @app.get("/quart")
    async def quart() -> Any:
        async def pieces() -> Any:
            await asyncio.sleep(0.5)
            yield b"late"

        return pieces()

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(0.5)
        await send({"type": "http.response.body", "body": b"late"})

    async def check() -> None:
        for one, path in ((app, "/quart"), (asgi, "/")):
            async with served(one) as server:
                reader, writer = await server.connect()
                writer.write(get(path))
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 0.3)
                assert head.startswith(b"HTTP/1.1 200")
                assert await asyncio.wait_for(reader.readline(), 1) == b"4\r\n"
                writer.close()

    run(check())


@pytest.mark.parametrize("app", [asgi_app, make_quart(LeanApp)], ids=["asgi", "quart"])
def test_head_and_body_go_out_in_one_write(app: Any) -> None:
    async def check() -> None:
        async with served(app) as server:
            writes = []
            reader, writer = await server.connect()
            await eventually(lambda: len(server.connections.open) == 1)  # type: ignore[union-attr]
            (connection,) = server.connections.open  # type: ignore[union-attr]
            transport = connection.transport  # type: ignore[attr-defined]

            class Watched:
                def __getattr__(self, name: str) -> Any:
                    return getattr(transport, name)

                def write(self, data: bytes) -> None:
                    writes.append(data)
                    transport.write(data)

            connection.transport = Watched()  # type: ignore[attr-defined]
            writer.write(get("/text"))
            await reader.readuntil(b"text")
            assert len(writes) == 1
            writer.close()

    run(check())


def test_an_early_response_survives_a_client_that_still_sends() -> None:
    async def check() -> None:
        async with served(asgi_app) as server:
            reader, writer = await server.connect()
            writer.write(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n")
            for _ in range(20):
                writer.write(bytes(1 << 16))
                await asyncio.sleep(0.005)
            assert (await asyncio.wait_for(reader.readuntil(b"early"), 5)).startswith(b"HTTP/1.1 200")
            writer.close()

    run(check())


@pytest.mark.parametrize("loop", LOOPS)
def test_more_of_a_body_than_will_be_dropped_is_the_last_of_its_connection(
    monkeypatch: pytest.MonkeyPatch, loop: str
) -> None:
    monkeypatch.setattr(body, "DROP_MAX", 200_000)

    async def check() -> None:
        async with served(asgi_app) as server:
            assert server.service is not None
            for announced, last in ((150_000, False), (300_000, True)):
                reader, writer = await server.connect()
                writer.write(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % announced)
                head = await reader.readuntil(b"\r\n\r\n")
                assert (b"connection: close" in head.lower()) == last
                assert await reader.readexactly(5) == b"early"
                writer.write(bytes(announced))
                if last:  # it is told at once, and let go when it does not stop
                    assert await asyncio.wait_for(reader.read(), 2) == b""
                    await eventually(lambda: not server.connections.open)  # type: ignore[union-attr]
                else:
                    writer.write(get("/text"))
                    await asyncio.wait_for(reader.readuntil(b"text"), 2)
                    writer.close()
                    await eventually(lambda: not server.connections.open)  # type: ignore[union-attr]

    run(check(), loop)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("end", ["stalls", "malformed", "comes"])
def test_the_rest_of_a_chunked_body_is_dropped_to_its_end(monkeypatch: pytest.MonkeyPatch, end: str, loop: str) -> None:
    monkeypatch.setattr(body, "REST_WINDOW_S", 0.2)
    monkeypatch.setattr(body, "DROP_MAX", 1 << 20)  # is for what ends the connection

    async def check() -> None:
        async with served(asgi_app, limits=Limits(min_data_rate=1000)) as server:
            reader, writer = await server.connect()
            writer.write(b"POST /early HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            head = await reader.readuntil(b"early")
            assert b"close" not in head
            if end == "malformed":
                writer.write(b"nonsense\r\n")
            for _ in range(3):  # at an honest rate it goes on
                writer.write(b"100\r\n" + bytes(0x100) + b"\r\n")
                await asyncio.sleep(0.15)
            assert reader.at_eof() == (end == "malformed")
            if end == "comes":
                writer.write((b"10000\r\n" + bytes(0x10000) + b"\r\n") * 40 + b"0\r\n\r\n" + get("/text"))
                await asyncio.wait_for(reader.readuntil(b"text"), 5)
                writer.close()
            await eventually(lambda: not server.connections.open)  # type: ignore[union-attr]

    run(check(), loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_the_rest_of_a_body_behind_the_last_response_is_dropped_within_bounds(
    monkeypatch: pytest.MonkeyPatch, loop: str
) -> None:
    monkeypatch.setattr(body, "DROP_MAX", 1 << 20)

    async def check() -> None:
        async with served(asgi_app) as server:
            reader, writer = await server.connect()
            writer.write(b"POST /early HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
            assert (await asyncio.wait_for(reader.read(), 2)).endswith(b"early")
            piece = b"10000\r\n" + bytes(0x10000) + b"\r\n"
            writer.write(piece * 8)
            await asyncio.sleep(0.1)
            assert server.connections.open  # type: ignore[union-attr]
            writer.write(piece * 12)
            await eventually(lambda: not server.connections.open)  # type: ignore[union-attr]
            writer.close()

    run(check(), loop)


def test_requests_that_wait_behind_an_unread_body_are_answered() -> None:
    async def check() -> None:
        async with served(asgi_app) as server:
            post = b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000)
            data, closed = await server.exchange(post + post + get("/text") + post + get("/text"), quiet=1)
            assert (data.count(b"early"), data.count(b"text"), closed) == (3, 2, False)

    run(check())


def expecting(path: str, length: int, method: str = "POST") -> bytes:
    return get(path, f"Expect: 100-continue\r\nContent-Length: {length}\r\n").replace(b"GET", method.encode())


@DIRECT
def test_a_body_is_asked_for_only_when_the_handler_wants_it() -> None:
    app = make_quart(LeanApp)
    app.config["MAX_CONTENT_LENGTH"] = 1000

    async def check() -> None:
        async with served(app) as server:
            for path, length, status in (("/early", 9, b"200"), ("/", 2000, b"413"), ("/nowhere/x?", 2000, b"413")):
                data, closed = await server.exchange(expecting(path, length), quiet=1)
                head = data.partition(b"\r\n\r\n")[0]
                assert head.startswith(b"HTTP/1.1 " + status)
                # The client may send its body now, or not: nobody could tell where its next request begins.
                assert b"connection: close" in head
                assert closed
            data, closed = await server.exchange(expecting("/", 5), b"hello" + get("/text"), quiet=1)
            assert data.startswith(b"HTTP/1.1 100 Continue\r\n") and data.count(b"HTTP/1.1 200 OK") == 2
            assert not closed
            data, closed = await server.exchange(expecting("/early", 5) + b"he", b"llo" + get("/text"), quiet=1)
            assert (data.count(b"HTTP/1.1 100"), data.count(b"HTTP/1.1 200"), closed) == (0, 2, False)
            data, _ = await server.exchange(expecting("/", 0, "GET"))
            assert data.startswith(b"HTTP/1.1 200 OK\r\n")

    run(check())


def test_a_body_is_asked_for_only_when_the_app_wants_it() -> None:
    async def check() -> None:
        async with served(asgi_app) as server:
            data, closed = await server.exchange(expecting("/early", 9), quiet=1)
            assert data.startswith(b"HTTP/1.1 200 OK\r\n") and closed
            data, closed = await server.exchange(expecting("/text", 5), b"hello", quiet=1)
            assert data.startswith(b"HTTP/1.1 100 Continue\r\n") and data.endswith(b"text") and not closed

    run(check())


def test_empty_lines_before_a_request_are_ignored() -> None:
    async def check() -> None:
        async with served(asgi_app, config=quiet_config(keep_alive_timeout=1)) as server:
            post = b"POST /text HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi\r\n"
            data, _ = await server.exchange(post + get("/text"), b"\r", b"\n\r\n" + get("/text"), quiet=0.5)
            assert data.count(b"HTTP/1.1 200 OK") == 3
            for bad in (b"\n", b"\r", b"\r\n\r\r\n", b" \r\n"):
                data, closed = await server.exchange(bad + get("/text"), quiet=0.5)
                assert data.startswith(b"HTTP/1.1 400 Bad Request\r\n") and closed
            reader, writer = await server.connect()
            begun = asyncio.get_running_loop().time()
            while not reader.at_eof() and asyncio.get_running_loop().time() < begun + 10:
                writer.write(b"\r\n")  # they are nothing that a connection could be kept open by
                await asyncio.sleep(0.1)
            assert await reader.read() == b""
            writer.close()

    run(check())


def test_a_wrong_length_that_is_known_at_once_is_a_500() -> None:
    app = make_quart(LeanApp)

    async def check() -> None:
        async with served(app) as server:
            for path in ("/too-much", "/too-little"):
                data, closed = await server.exchange(get(path), quiet=1)
                assert data.startswith(b"HTTP/1.1 500 Internal Server Error\r\n") and closed

    run(check())


@pytest.mark.parametrize("listens", [False, True])
def test_who_sends_to_a_client_that_left_gets_an_oserror(listens: bool, caplog: pytest.LogCaptureFixture) -> None:
    ended: list[BaseException] = []

    async def sends(scope: Any, receive: Any, send: Any) -> None:
        assert scope["asgi"]["spec_version"] == "2.4"
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while listens and (await receive())["type"] != "http.disconnect":
                pass
            while True:
                await send({"type": "http.response.body", "body": b"tick", "more_body": True})
                await asyncio.sleep(0.01)
        except OSError as error:
            ended.append(error)
            raise RuntimeError("as a framework may call it") from error

    async def check() -> None:
        async with served(sends) as server:
            for _ in range(3):
                _, writer = await server.connect()
                writer.write(GET)
                await eventually(lambda: server.connections.running == 1)  # type: ignore[union-attr]
                writer.transport.abort()
                await eventually(lambda: server.connections.running == 0)  # type: ignore[union-attr]
        assert len(ended) == 3

    run(check())
    assert not caplog.records


@pytest.mark.parametrize("path", ["lane", "hypercorn"])
def test_a_mounted_app_is_found_behind_both_kinds_of_proxy(path: str) -> None:
    """One strips the mount from the path, one keeps it; a prefix that only begins alike is no mount."""

    async def check() -> None:
        config = quiet_config(root_path="/api")
        async with served(asgi_app, path, config) as server:
            for sent, seen in (
                ("/x%2Fy", "/api/x%2Fy"),
                ("/api/x", "/api/x"),
                ("/apix", "/api/apix"),
                ("/", "/api/"),
                ("/api", "/api"),
            ):
                data, _ = await server.exchange(get(sent, "Connection: close\r\n"), quiet=2)
                scope = json.loads(data.partition(b"\r\n\r\n")[2])
                assert (scope["raw_path"], scope["path"]) == (seen, seen.replace("%2F", "/")), sent
                assert scope["root_path"] == "/api"
        async with served(make_quart(LeanApp), path, config) as server:
            for sent in ("/text", "/api/text"):
                data, _ = await server.exchange(get(sent, "Connection: close\r\n"), quiet=2)
                assert data.endswith(b"text"), sent
            for sent in ("/ws", "/api/ws"):
                head = get(
                    sent,
                    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
                )
                data, _ = await server.exchange(head, quiet=1)
                assert data.startswith(b"HTTP/1.1 101 "), sent

    run(check())


def test_counters_add_up() -> None:
    async def check() -> None:
        counters = Counting()
        async with served(make_quart(LeanApp), counters=counters) as server:
            head = get("/text")
            data, _ = await server.exchange(head, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
            await server.exchange(get("/raises"))
            await server.exchange(b"rubbish\r\n\r\n")
            await eventually(lambda: counters.open == 0)
        assert counters.started == 3
        assert [status for status, *_ in counters.finished] == [200, 200, 500]
        assert counters.finished[0][1] == len(head)
        assert sum(out for _, _, out, _ in counters.finished[:2]) == len(data)
        assert all(0 < seconds < 1 for *_, seconds in counters.finished)

    run(check())


def test_app_errors_are_logged_once_and_answered_with_500() -> None:
    import logging

    records: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logger = logging.getLogger("aeros-test-errors")
    logger.propagate = False
    logger.addHandler(Keep())

    async def check() -> None:
        config = quiet_config(errorlog=logger)
        for app in (asgi_app, make_quart(LeanApp)):
            records.clear()
            async with served(app, config=config) as server:
                data, closed = await server.exchange(get("/raises"))
                assert data.startswith(b"HTTP/1.1 500")
                assert closed
            assert [record.getMessage() for record in records] == ["Error in ASGI Framework"]
            assert records[0].exc_info

    run(check())


def test_response_timeouts_of_quart() -> None:
    app = Quart("timeouts")
    app.config["RESPONSE_TIMEOUT"] = 0.2
    ended: list[str] = []

    async def pieces() -> Any:
        try:
            yield b"one"
            await asyncio.sleep(5)
            yield b"two"
        finally:
            ended.append("ended")

    @app.get("/default")
    async def default() -> Any:
        return pieces()

    @app.get("/own")
    async def own() -> Any:
        response = Response(pieces())
        response.timeout = 0.1
        return response

    async def check() -> None:
        async with served(app) as server:
            for path in ("/default", "/own"):
                ended.clear()
                data, closed = await server.exchange(get(path), quiet=1)
                assert closed
                assert data.endswith(b"3\r\none\r\n")
                assert ended == ["ended"]

    run(check())


def test_body_timeout_of_quart() -> None:
    app = Quart("bodies")
    app.config["BODY_TIMEOUT"] = 0.1

    @app.post("/")
    async def read() -> Any:
        return await request.get_data()

    async def check() -> None:
        async with served(app) as server:
            data, _ = await server.exchange(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab", quiet=1)
            assert data.startswith(b"HTTP/1.1 408")

    run(check())


@DIRECT
def test_wrapping_asgi_app_takes_effect_at_once() -> None:
    app = make_quart(LeanApp)
    seen: list[str] = []

    async def check() -> None:
        async with served(app) as server:
            assert server.service is not None
            assert server.service.direct is not None
            await server.exchange(get("/text"))
            inner = app.asgi_app

            async def middleware(scope: Any, receive: Any, send: Any) -> None:
                seen.append(scope["path"])
                await inner(scope, receive, send)

            app.asgi_app = middleware  # type: ignore[method-assign]
            data, _ = await server.exchange(get("/text"))
            assert data.endswith(b"text")
            assert seen == ["/text"]

    run(check())


def test_a_class_with_its_own_call_is_served_by_messages() -> None:
    class Own(Quart):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await super().__call__(scope, receive, send)

    async def check() -> None:
        async with served(make_quart(Own)) as server:
            assert server.service is not None
            assert server.service.direct is None
            assert (await server.exchange(get("/text")))[0].endswith(b"text")

    run(check())


def test_unix_sockets_have_no_addresses(tmp_path: Any) -> None:
    from aeros.worker.assembly import http1_factory, make_service

    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["client"], scope["server"]))
        await asgi_app({**scope, "path": "/text"}, receive, send)

    async def check() -> None:
        loop = asyncio.get_running_loop()
        service = make_service(app, quiet_config(), loop=loop)
        path = str(tmp_path / "s")
        server = await loop.create_unix_server(http1_factory(service), path)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(get("/", "Connection: close\r\n"))
        assert (await reader.read(-1)).endswith(b"text")
        assert seen == [(None, None)]
        writer.close()
        server.close()

    run(check())
