"""Feeding the lane's connection directly, with a transport that only records: thousands of cases a second."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import h11
from apps import LeanApp, asgi_app, make_quart
from exchanges import EXCHANGES
from hypothesis import strategies as st
from lane_server import quiet_config
from websocket_cases import read_outcome

from aeros.quart.direct import direct_path
from aeros.worker.assembly import make_service
from aeros.worker.http1.body import READ_AHEAD
from aeros.worker.http1.connection import HTTP1Connection

SEEDS = [b"".join(sent.parts) for sent in EXCHANGES if 0 < sum(map(len, sent.parts)) < 3000]

SPLICES = [
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b"\0",
        b" ",
        b"\t",
        b":",
        b"0\r\n\r\n",
        b"ffffffff\r\n",
        b"Content-Length: 5\r\n",
    ),
    *(b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Host: a\r\n", b"Expect: 100-continue\r\n"),
    *(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\xff", b"Upgrade: websocket\r\n"),
]


class Socket:
    family = 2


class RecordingTransport(asyncio.Transport):
    """Takes everything, and loses its connection one turn of the loop after it is closed."""

    def __init__(self, protocol: asyncio.BaseProtocol) -> None:
        super().__init__({"socket": Socket(), "peername": ("127.0.0.1", 9), "sockname": ("127.0.0.1", 80)})
        self.protocol = protocol
        self.written = bytearray()
        self.closed = self.eof = self.paused = False

    def write(self, data: Any) -> None:
        assert not self.eof, "written behind the end"
        if not self.closed:
            self.written += data

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def write_eof(self) -> None:
        self.eof = True

    def can_write_eof(self) -> bool:
        return True

    def pause_reading(self) -> None:
        assert not self.paused
        self.paused = True

    def resume_reading(self) -> None:
        assert self.paused
        self.paused = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol


class Fuzzer:
    """Feeds cases to fresh connections of one lane, and judges what comes out."""

    async def __aenter__(self) -> Fuzzer:
        loop = asyncio.get_running_loop()
        self.errors: list[Any] = []
        loop.set_exception_handler(lambda _, context: self.errors.append(context))
        self.services = [
            make_service(app, quiet_config(), loop=loop, direct=direct_path) for app in (asgi_app, make_quart(LeanApp))
        ]
        return self

    async def __aexit__(self, *args: object) -> None:
        for service in self.services:
            connections = service.connections
            connections.abort()
        for _ in range(5):
            await asyncio.sleep(0)

    async def feed(self, parts: list[bytes]) -> None:
        for service in self.services:
            connections = service.connections
            connection = HTTP1Connection(service)
            transport = RecordingTransport(connection)
            connection.connection_made(transport)
            for part in parts:
                if transport.closed or transport.paused:
                    break
                transport.protocol.data_received(part)  # type: ignore[attr-defined]
                assert len(connection._ahead) <= READ_AHEAD + len(part)
                assert connection._body is None or len(connection._body._ahead) <= READ_AHEAD + len(part)
                await asyncio.sleep(0)
            for _ in range(30):
                if connection._exchange is None:
                    break
                await asyncio.sleep(0)
            if transport.protocol is connection:  # else it speaks HTTP/2 by now: see http2_fuzzing
                self._judge(bytes(transport.written))
            transport.close()
            for _ in range(4):
                await asyncio.sleep(0)
            assert not connections.open
            assert not self.errors, self.errors

    def _judge(self, written: bytes) -> None:
        """What was written is a row of responses as h11 understands them, the last maybe incomplete; or a WebSocket."""
        while written:
            if written.startswith(b"HTTP/1.1 101 "):
                head, _, frames = written.partition(b"\r\n\r\n")
                assert not read_outcome(head, frames).wrong, written
                return
            rests = [rest for method in ("GET", "HEAD") if (rest := _behind_response(written, method)) is not None]
            good = [rest for rest in rests if not rest or rest.startswith(b"HTTP/1.1 ")]
            assert good, written
            written = good[0]


def _behind_response(written: bytes, method: str) -> bytes | None:
    """Return what follows the first response, b"" if it is incomplete, None if it is none."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(written)
    try:
        while True:
            event = client.next_event()
            if event is h11.NEED_DATA:
                return b""
            if event is h11.PAUSED or isinstance(event, h11.EndOfMessage):
                return client.trailing_data[0]
    except h11.RemoteProtocolError:
        return None


@st.composite
def mutations(draw: st.DrawFn) -> list[bytes]:
    """Draw a seed, or two, with bytes put in, taken out and changed, cut into parts."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    if draw(st.booleans()):
        data += draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.integers(0, 3))
        if kind == 0:
            data[at:at] = draw(st.sampled_from(SPLICES))
        elif kind == 1:
            data[at:at] = draw(st.binary(min_size=1, max_size=4))
        elif kind == 2:
            del data[at : at + draw(st.integers(1, 8))]
        elif at < len(data):
            data[at] = draw(st.integers(0, 255))
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=4)))
    edges = [0, *cuts, len(data)]
    return [bytes(data[a:b]) for a, b in pairwise(edges) if a < b]
