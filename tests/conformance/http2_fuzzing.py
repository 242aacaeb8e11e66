"""Feeding connections of HTTP/2 directly with frames right and wrong, and judging what they answer and keep."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from apps import LeanApp, asgi_app, make_quart
from fuzzing import RecordingTransport
from h2_frames import PREFACE, SETTINGS, Client, block, frame, number, request, setting
from hypothesis import strategies as st
from lane_server import eventually, quiet_config

from aeros.quart.direct import direct_path
from aeros.worker.assembly import make_service
from aeros.worker.http1.connection import HTTP1Connection
from aeros.worker.http2.connection import HTTP2Connection
from aeros.worker.http2.streams import CONNECTION_WINDOW

BEGINNING = PREFACE + frame(SETTINGS)

BLOCKS = [
    request(),
    request("/seen", "POST"),
    request("/seen", "POST", ("content-length", "5")),
    request("/early", "POST", ("expect", "100-continue"), ("te", "trailers")),
    request("/text", "HEAD", ("cookie", "a"), ("cookie", "b")),
    request("/large"),
    request("/stream"),
    request("/fail"),
    block((":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/ws"))
    + block((":authority", "a"), ("sec-websocket-version", "13")),
    block(("a", "b")),
    block(("A", "b")),
    bytes.fromhex("828684") + b"\x41\x01a\x40\x01x\x01y",  # with an entry of the table
    bytes.fromhex("828684bfbe"),  # and by reference
    bytes.fromhex("82868441018cf1e3c2e5f23a6ba0ab90f4ff"),
    b"\x20",
    b"\x3f\xe1\x1f",
    b"",
]
PAYLOADS = [
    b"hello",
    b"",
    bytes(1000),
    number(0),
    number(1),
    number(70000),
    number(2**31 - 1),
    bytes(8),
    setting(4, 0),
    setting(4, 100000),
    setting(1, 0),
    setting(2, 0),
    setting(5, 1 << 20),
    setting(3, 0),
    b"\x03hello\0\0\0",
    number(3) + b"\x10",
    b"\x81\x85\0\0\0\0hello",
    b"\x88\x82\0\0\0\0\x03\xe8",
]
FLAGS = [0, 1, 4, 5, 8, 9, 12, 13, 0x20, 0x25, 0x2D]


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    kind = draw(st.one_of(st.sampled_from([1, 1, 0, 0, 3, 8, 9]), st.integers(0, 11)))
    stream = draw(st.sampled_from([0, 1, 1, 3, 3, 5, 7, 2, 101]))
    flags = draw(st.sampled_from(FLAGS))
    pool = BLOCKS if kind in (1, 5, 9) else PAYLOADS
    payload = draw(st.one_of(st.sampled_from(pool), st.sampled_from(pool), st.binary(max_size=20)))
    return frame(kind, flags, stream, payload)


@st.composite
def conversations(draw: st.DrawFn) -> list[bytes]:
    """Draw what a client sends, cut into the pieces it arrives in."""
    data = bytearray(BEGINNING + b"".join(draw(st.lists(frames(), max_size=12))))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(len(PREFACE), len(data) - 1))
        if draw(st.booleans()):
            data[at] = draw(st.integers(0, 255))
        else:
            del data[at : at + draw(st.integers(1, 4))]
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    edges = [0, *cuts, len(data)]
    return [bytes(data[a:b]) for a, b in pairwise(edges) if a < b]


class HTTP2Fuzzer:
    """Feeds conversations to fresh connections of two lanes."""

    async def __aenter__(self) -> HTTP2Fuzzer:
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
            await self._turns(lambda connections=connections: not connections.running)

    async def _turns(self, done: Callable[[], bool]) -> None:
        for _ in range(60):
            if done():
                return
            await asyncio.sleep(0)

    async def feed(self, parts: list[bytes]) -> None:
        for service in self.services:
            connections = service.connections
            first = HTTP1Connection(service)
            transport = RecordingTransport(first)
            first.connection_made(transport)
            for part in parts:
                if transport.closed:
                    break
                transport.protocol.data_received(part)  # type: ignore[attr-defined]
                await asyncio.sleep(0)
            connection = transport.protocol
            if isinstance(connection, HTTP2Connection):
                await self._turns(lambda: not connections.running)  # noqa: B023 - awaited here
                self._judge(connection, bytes(transport.written))
            transport.close()
            gone = lambda: not connections.running and not connections.open  # noqa: B023, E731
            await self._turns(gone)
            await eventually(gone, 10.0)
            assert not connections.open
            assert not connections.running, "an app that was not told"
            assert not connections.websockets
            if isinstance(connection, HTTP2Connection):
                assert not connection.streams.open
                assert connection.streams.abandoned == 0
            assert not self.errors, self.errors

    def _judge(self, connection: HTTP2Connection, written: bytes) -> None:
        client = Client(None, None)  # type: ignore[arg-type]
        client.feed(written)
        assert not client._unread, "a frame that is not whole"
        assert len(connection._rest) < (1 << 14) + 9
        assert len(connection.streams._closed) <= 256
        assert connection.streams.pushed == 0
        kept = sum(stream.held for stream in connection.streams.open.values())
        if not connection.streams.over:
            # No credit is lost: what the client may send, what it will be told and what is kept make the whole.
            assert connection.streams._window + connection.streams._owed + kept == CONNECTION_WINDOW
