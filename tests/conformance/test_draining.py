"""Draining: who is told what, who may finish, and that it ends; by the lane and by Hypercorn's classes alike."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import httpx
import pytest
import websockets
from apps import LeanApp, asgi_app, make_quart, read_body
from lane_server import Served, eventually, quiet_config, run, served

from aeros.worker.hypercorn import connection as handover
from aeros.worker.websocket import connection as websocket
from aeros.worker.websocket import handed

PATHS = ["lane", "hypercorn"]
LOOPS = ["uvloop", "asyncio"]


def get(path: str = "/text") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


async def slow_app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await read_body(receive)
        if scope["path"] == "/slow":
            await asyncio.sleep(0.4)
            scope = {**scope, "path": "/text"}

        async def nothing() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        await asgi_app(scope, nothing, send)
    else:
        await asgi_app(scope, receive, send)


async def read_response(reader: asyncio.StreamReader) -> bytes:
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 3)
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return head + await reader.readexactly(length)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("path", PATHS)
def test_reload_keeps_idle_connections_until_their_next_request(path: str, loop: str) -> None:
    async def check() -> None:
        async with served(slow_app, path, quiet_config(keep_alive_timeout=30)) as server:
            lane = server.connections
            assert lane is not None
            idle = await server.connect()
            used = await server.connect()
            used[1].write(get())
            assert b"lose" not in await read_response(used[0])
            busy = await server.connect()
            busy[1].write(get("/slow"))
            await asyncio.sleep(0.1)
            assert len(lane.open) == 3
            lane.begin_drain("reload")
            assert b"onnection: close" in await read_response(busy[0])
            assert await asyncio.wait_for(busy[0].read(), 1) == b""
            await asyncio.sleep(0.3)
            assert len(lane.open) == 2
            for reader, writer in (idle, used):
                writer.write(get())
                assert b"onnection: close" in await read_response(reader)
                assert await asyncio.wait_for(reader.read(), 1) == b""
                writer.close()
            await asyncio.wait_for(lane.drained(), 1)

    run(check(), loop)


@pytest.mark.parametrize("path", PATHS)
def test_reload_ends_idle_connections_at_their_keep_alive_time(path: str) -> None:
    async def check() -> None:
        async with served(slow_app, path, quiet_config(keep_alive_timeout=0.5)) as server:
            assert server.service is not None
            await server.connect()
            await eventually(lambda: len(server.connections.open) == 1)  # type: ignore[union-attr]
            server.connections.begin_drain("reload")
            begun = asyncio.get_running_loop().time()
            await asyncio.wait_for(server.connections.drained(), 3)
            assert asyncio.get_running_loop().time() - begun > 0.3

    run(check())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("path", PATHS)
def test_stop_closes_idle_connections_after_a_moment_and_finishes_the_rest(path: str, loop: str) -> None:
    async def check() -> None:
        async with served(slow_app, path, quiet_config(keep_alive_timeout=30)) as server:
            lane = server.connections
            assert lane is not None
            idle, late, busy = [await server.connect() for _ in range(3)]
            busy[1].write(get("/slow"))
            await asyncio.sleep(0.1)
            lane.begin_drain("stop")
            late[1].write(get())  # within the grace
            assert b"onnection: close" in await read_response(late[0])
            assert await asyncio.wait_for(idle[0].read(), 1) == b""
            assert len(lane.open) == 1
            assert b"onnection: close" in await read_response(busy[0])
            await asyncio.wait_for(lane.drained(), 1)

    run(check(), loop)


@pytest.mark.parametrize("path", PATHS)
def test_a_reload_can_become_a_stop(path: str) -> None:
    async def check() -> None:
        async with served(slow_app, path, quiet_config(keep_alive_timeout=30)) as server:
            assert server.service is not None
            await server.connect()
            await eventually(lambda: len(server.connections.open) == 1)  # type: ignore[union-attr]
            server.connections.begin_drain("reload")
            await asyncio.sleep(0.2)
            server.connections.begin_drain("stop")
            await asyncio.wait_for(server.connections.drained(), 1)

    run(check())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("path", PATHS)
def test_abort_ends_what_is_left(path: str, loop: str) -> None:
    ended = []

    async def stuck(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    async def check() -> None:
        async with served(stuck, path) as server:
            assert server.service is not None
            _, writer = await server.connect()
            writer.write(get())
            await asyncio.sleep(0.1)
            server.connections.begin_drain("stop")
            await asyncio.sleep(0.3)
            assert len(server.connections.open) == 1
            assert server.connections.abort() == 1
            await asyncio.wait_for(server.connections.drained(), 1)
            await eventually(lambda: ended == [True])

    run(check(), loop)


# WebSockets


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("reason", "code"), [("reload", 1012), ("stop", 1001)])
@pytest.mark.parametrize("kind", ["asgi", "quart"])
def test_websockets_are_told_why(kind: str, reason: Any, code: int, path: str, loop: str) -> None:
    messages: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def watched() -> Any:
            messages.append(await receive())
            return messages[-1]

        inner = make_quart(LeanApp) if kind == "quart" else asgi_app
        await inner(scope, watched, send)

    async def check() -> None:
        async with served(app, path) as server:
            assert server.service is not None
            async with websockets.connect(f"ws://127.0.0.1:{server.port}/ws") as client:
                await client.send("hello")
                assert await client.recv() == "hello"
                server.connections.begin_drain(reason)
                with pytest.raises(websockets.ConnectionClosed) as closed:
                    await asyncio.wait_for(client.recv(), 2)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == code
            await asyncio.wait_for(server.connections.drained(), 1)
            assert messages[-1]["type"] == "websocket.disconnect"
            assert messages[-1]["code"] == code
            assert not server.connections.websockets

    run(check(), loop)


HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.mark.parametrize("path", PATHS)
def test_a_websocket_client_that_does_not_answer_is_dropped(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket if path == "lane" else handed, "CLOSE_WAIT_S", 0.3)

    async def check() -> None:
        async with served(asgi_app, path) as server:
            assert server.service is not None
            reader, writer = await server.connect()
            writer.write(HANDSHAKE)
            await reader.readuntil(b"\r\n\r\n")
            begun = asyncio.get_running_loop().time()
            server.connections.begin_drain("reload")
            assert await reader.readexactly(4) == b"\x88\x02" + (1012).to_bytes(2, "big")
            await asyncio.wait_for(server.connections.drained(), 2)
            assert 0.2 < asyncio.get_running_loop().time() - begun < 1
            writer.close()

    run(check())


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("draining", [True, False], ids=["new", "pending"])
def test_a_websocket_not_accepted_yet_is_answered_with_503(draining: bool, path: str) -> None:
    seen: list[Any] = []

    async def never(scope: Any, receive: Any, send: Any) -> None:
        seen.append(await receive())
        seen.append(await receive())
        await send({"type": "websocket.accept"})  # too late, and harmless

    async def check() -> None:
        async with served(never, path) as server:
            assert server.service is not None
            reader, writer = await server.connect()
            await eventually(lambda: len(server.connections.open) == 1)  # type: ignore[union-attr]
            if draining:
                server.connections.begin_drain("reload")
            writer.write(HANDSHAKE)
            await asyncio.sleep(0.1)
            if not draining:
                server.connections.begin_drain("reload")
            data = await asyncio.wait_for(reader.read(-1), 2)
            assert data.startswith(b"HTTP/1.1 503")
            await asyncio.wait_for(server.connections.drained(), 1)
            if not draining:
                assert seen[-1]["type"] == "websocket.disconnect"
            writer.close()

    run(check())


def test_many_websockets_are_spread() -> None:
    async def check() -> None:
        async with served(asgi_app) as server:
            assert server.service is not None
            clients = [await websockets.connect(f"ws://127.0.0.1:{server.port}/ws") for _ in range(100)]
            await eventually(lambda: len(server.connections.websockets) == 100)  # type: ignore[union-attr]
            server.connections.begin_drain("reload")
            await asyncio.sleep(0.02)
            assert 50 < len(server.connections.websockets) <= 100
            await asyncio.wait_for(server.connections.drained(), 3)
            for client in clients:
                await client.wait_closed()
                assert client.close_code == 1012

    run(check())


@pytest.mark.parametrize("path", PATHS)
def test_websockets_are_counted(path: str) -> None:
    from test_lane import Counting

    async def check() -> None:
        counters = Counting()
        async with served(asgi_app, path, counters=counters) as server:
            async with websockets.connect(f"ws://127.0.0.1:{server.port}/ws"):
                await eventually(lambda: counters.sockets == 1)
                assert counters.open == 1
            await eventually(lambda: counters.sockets == 0 and counters.open == 0)

    run(check())


# HTTP/2


class H2Client:
    """Just enough of an HTTP/2 client to see frames come and go."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self.events: list[Any] = []
        self.closed = False
        self.raw = b""
        self.taken = 0
        self.connection.initiate_connection()
        self.flush()
        self.task = asyncio.create_task(self._read())

    def flush(self) -> None:
        self.writer.write(self.connection.data_to_send())

    def request(self, path: str) -> int:
        stream = self.connection.get_next_available_stream_id()
        headers = [(":method", "GET"), (":path", path), (":scheme", "http"), (":authority", "a")]
        self.connection.send_headers(stream, headers, end_stream=True)
        self.flush()
        return stream

    async def _read(self) -> None:
        while data := await self.reader.read(1 << 16):
            self.raw += data
            self._take_frames()
            self.flush()
        self.closed = True

    def _take_frames(self) -> None:
        """Feed h2 all whole frames but GOAWAY, after which h2 would refuse the streams still open."""
        while len(self.raw) - self.taken >= 9:
            end = self.taken + 9 + int.from_bytes(self.raw[self.taken : self.taken + 3], "big")
            if len(self.raw) < end:
                return
            if self.raw[self.taken + 3] != 7:
                self.events += self.connection.receive_data(self.raw[self.taken : end])
            self.taken = end

    def goaways(self) -> list[int]:
        """Return the last-stream-ids of the GOAWAY frames, in order."""
        found, data = [], self.raw
        while len(data) >= 9:
            length = int.from_bytes(data[:3], "big")
            if data[3] == 7:
                found.append(int.from_bytes(data[9:13], "big"))
            data = data[9 + length :]
        return found

    def ended(self, stream: int) -> bool:
        return any(isinstance(event, h2.events.StreamEnded) and event.stream_id == stream for event in self.events)

    def body(self, stream: int) -> bytes:
        parts = [e.data for e in self.events if isinstance(e, h2.events.DataReceived) and e.stream_id == stream]
        return b"".join(parts)


async def h2_client(server: Served, **kwargs: Any) -> H2Client:
    return H2Client(*await server.connect(**kwargs))


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("path", PATHS)
def test_http2_by_prior_knowledge(path: str, loop: str) -> None:
    async def check() -> None:
        async with served(slow_app, path) as server:
            client = await h2_client(server)
            streams = [client.request("/text") for _ in range(3)]
            await eventually(lambda: all(client.ended(stream) for stream in streams))
            assert all(client.body(stream) == b"text" for stream in streams)
            assert server.service is not None
            assert len(server.connections.open) == 1
            client.writer.close()
            await eventually(lambda: len(server.connections.open) == 0)  # type: ignore[union-attr]

    run(check(), loop)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("reason", ["reload", "stop"])
def test_idle_http2_gets_goaway_and_closes(reason: Any, path: str) -> None:
    async def check() -> None:
        async with served(slow_app, path, quiet_config(keep_alive_timeout=30)) as server:
            client = await h2_client(server)
            stream = client.request("/text")
            await eventually(lambda: client.ended(stream))
            assert server.service is not None
            server.connections.begin_drain(reason)
            await asyncio.wait_for(server.connections.drained(), 1.5)
            await eventually(lambda: client.closed)
            assert client.goaways()[:2] == [2**31 - 1, stream]

    run(check())


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("reason", ["reload", "stop"])
def test_busy_http2_finishes_what_it_began(reason: Any, path: str) -> None:
    async def check() -> None:
        async with served(slow_app, path, quiet_config(keep_alive_timeout=30)) as server:
            client = await h2_client(server)
            slow = client.request("/slow")
            await asyncio.sleep(0.1)
            assert server.service is not None
            server.connections.begin_drain(reason)
            crossing = client.request("/text")  # on its way when the first GOAWAY was sent
            await eventually(lambda: client.ended(slow))
            assert client.body(slow) == b"text"
            assert client.body(crossing) == b"text"
            await asyncio.wait_for(server.connections.drained(), 1.5)
            assert client.goaways()[:2] == [2**31 - 1, crossing]

    run(check())


def test_http2_that_never_idles_gets_its_goaway_too() -> None:
    async def check() -> None:
        gate = asyncio.Event()

        async def waits(scope: Any, receive: Any, send: Any) -> None:
            await gate.wait()
            await asgi_app(scope, receive, send)

        async with served(waits, config=quiet_config(keep_alive_timeout=30)) as server:
            client = await h2_client(server)
            stream = client.request("/text")
            await asyncio.sleep(0.1)
            assert server.service is not None
            server.connections.begin_drain("reload")
            await eventually(lambda: client.goaways() == [2**31 - 1, stream], handover.GOAWAY_IDLE_WAIT_S + 3)
            assert len(server.connections.open) == 1
            gate.set()
            await eventually(lambda: client.ended(stream))
            assert client.body(stream) == b"text"
            await asyncio.wait_for(server.connections.drained(), 1)

    run(check())


def test_httpx_does_not_notice_a_drain() -> None:
    async def check() -> None:
        async with served(slow_app) as server, httpx.AsyncClient(http1=False, http2=True) as client:
            slow = asyncio.create_task(client.get(f"http://127.0.0.1:{server.port}/slow"))
            await asyncio.sleep(0.1)
            assert server.service is not None
            server.connections.begin_drain("reload")
            assert (await slow).text == "text"
            await asyncio.wait_for(server.connections.drained(), 2)

    run(check())


def test_an_upgrade_to_h2c_is_ignored() -> None:
    async def check() -> None:
        async with served(slow_app) as server:
            data, _ = await server.exchange(
                b"GET /text HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
            )
            assert data.startswith(b"HTTP/1.1 200") and data.endswith(b"text")

    run(check())


# TLS


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    key, crt = folder / "key.pem", folder / "crt.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(crt)],
        check=True, capture_output=True,
    )  # fmt: skip
    return key, crt


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("path", PATHS)
def test_tls_and_alpn(path: str, loop: str, certificate: tuple[Path, Path]) -> None:
    key, crt = certificate

    async def check() -> None:
        config = quiet_config(keyfile=str(key), certfile=str(crt))
        async with served(slow_app, path, config, config.create_ssl_context()) as server:
            trusting = ssl.create_default_context(cafile=str(crt))
            trusting.check_hostname = False
            trusting.set_alpn_protocols(["h2"])
            client = await h2_client(server, ssl=trusting)
            stream = client.request("/text")
            await eventually(lambda: client.ended(stream))
            trusting.set_alpn_protocols(["http/1.1"])
            reader, writer = await server.connect(ssl=trusting)
            for _ in range(2):
                writer.write(get("/scheme"))
                assert b'"scheme": "https"' in await read_response(reader)
            assert server.service is not None
            server.connections.begin_drain("reload")
            writer.write(get())
            assert b"onnection: close" in await read_response(reader)
            assert await asyncio.wait_for(reader.read(), 1) == b""
            await asyncio.wait_for(server.connections.drained(), 2)
            writer.close()

    run(check(), loop)


@pytest.mark.parametrize("path", PATHS)
def test_drained_waits_for_the_app_as_well(path: str) -> None:
    ended = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asgi_app(scope, receive, send)
        await asyncio.sleep(0.3)  # work behind the response
        ended.append(True)

    async def check() -> None:
        async with served(app, path) as server:
            assert server.service is not None
            await server.exchange(get("/text").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            server.connections.begin_drain("stop")
            await asyncio.wait_for(server.connections.drained(), 2)
            assert ended

    run(check())


@pytest.mark.parametrize("kind", ["asgi", "quart"])
def test_a_client_gone_before_the_app_began_is_counted_too(kind: str) -> None:
    from fuzzing import RecordingTransport
    from test_lane import Counting

    from aeros.quart.direct import direct_path
    from aeros.worker.assembly import make_service
    from aeros.worker.http1.connection import HTTP1Connection

    async def check() -> None:
        counters = Counting()
        app: Any = asgi_app if kind == "asgi" else make_quart(LeanApp)
        loop = asyncio.get_running_loop()
        service = make_service(app, quiet_config(), loop=loop, direct=direct_path, counters=counters)
        connections = service.connections
        connection = HTTP1Connection(service)
        connection.connection_made(RecordingTransport(connection))
        connection.data_received(get("/text"))
        connection.connection_lost(None)
        connections.begin_drain("stop")
        await asyncio.wait_for(connections.drained(), 1)
        assert (counters.started, len(counters.finished), counters.open) == (1, 1, 0)

    run(check())


@pytest.mark.parametrize("path", PATHS)
def test_a_connection_out_of_the_backlog_is_served_while_stopping(path: str) -> None:
    async def check() -> None:
        async with served(slow_app, path, quiet_config(keep_alive_timeout=30)) as server:
            assert server.service is not None
            _, first = await server.connect()
            first.write(get("/slow"))
            await asyncio.sleep(0.05)
            server.connections.begin_drain("stop")
            await asyncio.sleep(0.08)
            reader, writer = await server.connect()
            await asyncio.sleep(0.06)  # the grace of the others is over
            writer.write(get())
            assert b"onnection: close" in await read_response(reader)
            await server.connect()  # and one that never says anything
            await asyncio.wait_for(server.connections.drained(), 1)

    run(check())
