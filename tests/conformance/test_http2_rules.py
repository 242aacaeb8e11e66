"""What RFC 9113 and RFC 7541 say of clients that break the rules, case by case, against the lane."""

from __future__ import annotations

import asyncio

import pytest
from apps import asgi_app, make_quart
from h2_frames import (
    ACK,
    CALM,
    CLOSED,
    COMPRESSION,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FLOW_CONTROL,
    FRAME_SIZE,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PROTOCOL,
    PUSH_PROMISE,
    REFUSED,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    Client,
    block,
    frame,
    get,
    number,
    post,
    request,
    setting,
)
from lane_server import eventually, quiet_config, run, served

LAST = 2**31 - 1


def headers(payload: bytes, stream: int = 1, flags: int = END_HEADERS | END_STREAM) -> bytes:
    return frame(HEADERS, flags, stream, payload)


def fields(*pairs: tuple[str, str]) -> bytes:
    return headers(block(*pairs))


# One entry of 4000 bytes in the table, which a byte each names.
ENTRY = b"\x40\x01a\x7f\x81\x1e" + b"x" * 3968
GOOD = ((":method", "GET"), (":scheme", "http"), (":path", "/text"), (":authority", "a"))

#: name → (frames, outcome). Stream errors are "reset", connection errors "goaway".
CASES: dict[str, tuple[bytes, str]] = {
    "good": (get(), "open"),
    # Frames (section 4)
    "unknown kind": (frame(0x16, 0xFF, 0, b"x"), "open"),
    "unknown kind on a stream that is not open": (frame(0x16, 0, 99, b"x"), "open"),
    "reserved bit": (frame(PING, 0, 0x80000000, b"12345678"), "open"),
    "flags nobody knows": (frame(PING, 0x16, 0, b"12345678"), "open"),
    "frame too large": ((16385).to_bytes(3, "big") + bytes((DATA, 0)) + number(1), f"goaway {FRAME_SIZE}"),
    "headers too large": ((16385).to_bytes(3, "big") + bytes((HEADERS, 5)) + number(1), f"goaway {FRAME_SIZE}"),
    "unknown kind too large": ((1 << 20).to_bytes(3, "big") + bytes((99, 0)) + number(0), f"goaway {FRAME_SIZE}"),
    # Stream states (section 5.1)
    "idle: DATA": (frame(DATA, END_STREAM, 1, b"x"), f"goaway {PROTOCOL}"),
    "idle: RST_STREAM": (frame(RST_STREAM, 0, 1, number(8)), f"goaway {PROTOCOL}"),
    "idle: WINDOW_UPDATE": (frame(WINDOW_UPDATE, 0, 1, number(8)), f"goaway {PROTOCOL}"),
    "idle: CONTINUATION": (frame(CONTINUATION, END_HEADERS, 1, request()), f"goaway {PROTOCOL}"),
    "half closed: DATA": (get(1, "/slow") + frame(DATA, END_STREAM, 1, b"x"), f"reset {CLOSED}"),
    "half closed: HEADERS": (get(1, "/slow") + get(1), f"reset {CLOSED}"),
    "half closed: CONTINUATION": (get() + frame(CONTINUATION, END_HEADERS, 1, request()), f"goaway {PROTOCOL}"),
    "reset: DATA": (post() + frame(RST_STREAM, 0, 1, number(8)) + frame(DATA, 0, 1, b"x"), f"reset {CLOSED}"),
    "reset: HEADERS": (post() + frame(RST_STREAM, 0, 1, number(8)) + get(1), f"reset {CLOSED}"),
    "reset: CONTINUATION": (
        post() + frame(RST_STREAM, 0, 1, number(8)) + frame(CONTINUATION, END_HEADERS, 1),
        f"goaway {PROTOCOL}",
    ),
    "reset: RST_STREAM": (post() + 2 * frame(RST_STREAM, 0, 1, number(8)), "open"),
    "reset: PRIORITY": (post() + frame(RST_STREAM, 0, 1, number(8)) + frame(PRIORITY, 0, 1, bytes(5)), "open"),
    "even stream": (get(2), f"goaway {PROTOCOL}"),
    "smaller stream": (get(5, "/slow") + get(3), f"goaway {PROTOCOL}"),
    # DATA (6.1)
    "DATA on stream 0": (frame(DATA, 0, 0, b"x"), f"goaway {PROTOCOL}"),
    "DATA with too much padding": (post() + frame(DATA, PADDED | 1, 1, b"\x05abcd"), f"goaway {PROTOCOL}"),
    "DATA with all padding": (post() + frame(DATA, PADDED | 1, 1, b"\x04abcd"), "open"),
    "DATA of an even stream": (post() + frame(DATA, 0, 2, b"x"), f"goaway {PROTOCOL}"),
    # HEADERS (6.2)
    "HEADERS on stream 0": (get(0), f"goaway {PROTOCOL}"),
    "HEADERS with too much padding": (headers(b"\xff" + request(), flags=5 | PADDED), f"goaway {PROTOCOL}"),
    "HEADERS padded": (headers(b"\x03" + request() + bytes(3), flags=5 | PADDED), "open"),
    "HEADERS padded, without length": (headers(b"", flags=5 | PADDED), f"goaway {FRAME_SIZE}"),
    "HEADERS with priority": (headers(number(0) + b"\x10" + request(), flags=5 | WITH_PRIORITY), "open"),
    "HEADERS too short for priority": (headers(b"\0\0", flags=5 | WITH_PRIORITY), f"goaway {FRAME_SIZE}"),
    "HEADERS depending on itself": (
        headers(number(1) + b"\x10" + request(), flags=5 | WITH_PRIORITY),
        f"reset {PROTOCOL}",
    ),
    "HEADERS, then another frame": (
        headers(request(), flags=1) + frame(PRIORITY, 0, 1, bytes(5)),
        f"goaway {PROTOCOL}",
    ),
    "HEADERS, then an unknown frame": (headers(request(), flags=1) + frame(0x99), f"goaway {PROTOCOL}"),
    "HEADERS, then those of another stream": (headers(request(), flags=1) + get(3), f"goaway {PROTOCOL}"),
    # PRIORITY (6.3), of which the values mean nothing
    "PRIORITY": (frame(PRIORITY, 0, 9, number(1) + b"\1"), "open"),
    "PRIORITY on stream 0": (frame(PRIORITY, 0, 0, bytes(5)), f"goaway {PROTOCOL}"),
    "PRIORITY of a wrong length": (post() + frame(PRIORITY, 0, 1, bytes(4)), f"reset {FRAME_SIZE}"),
    "PRIORITY on itself": (post() + frame(PRIORITY, 0, 1, number(1) + b"\1"), f"reset {PROTOCOL}"),
    # RST_STREAM (6.4)
    "RST_STREAM on stream 0": (frame(RST_STREAM, 0, 0, number(8)), f"goaway {PROTOCOL}"),
    "RST_STREAM of a wrong length": (post() + frame(RST_STREAM, 0, 1, b"abc"), f"goaway {FRAME_SIZE}"),
    # SETTINGS (6.5)
    "SETTINGS ACK with a payload": (frame(SETTINGS, ACK, 0, setting(1, 1)), f"goaway {FRAME_SIZE}"),
    "SETTINGS on a stream": (frame(SETTINGS, 0, 1), f"goaway {PROTOCOL}"),
    "SETTINGS of odd length": (frame(SETTINGS, 0, 0, b"abc"), f"goaway {FRAME_SIZE}"),
    "SETTINGS: ENABLE_PUSH 2": (frame(SETTINGS, 0, 0, setting(2, 2)), f"goaway {PROTOCOL}"),
    "SETTINGS: window too large": (frame(SETTINGS, 0, 0, setting(4, 2**31)), f"goaway {FLOW_CONTROL}"),
    "SETTINGS: frames too small": (frame(SETTINGS, 0, 0, setting(5, 16383)), f"goaway {PROTOCOL}"),
    "SETTINGS: frames too large": (frame(SETTINGS, 0, 0, setting(5, 1 << 24)), f"goaway {PROTOCOL}"),
    "SETTINGS: unknown": (frame(SETTINGS, 0, 0, setting(0xFF, 7)), "open"),
    # PUSH_PROMISE (6.6)
    "PUSH_PROMISE": (frame(PUSH_PROMISE, 4, 1, number(2) + request()), f"goaway {PROTOCOL}"),
    # PING (6.7)
    "PING on a stream": (frame(PING, 0, 1, bytes(8)), f"goaway {PROTOCOL}"),
    "PING of a wrong length": (frame(PING, 0, 0, bytes(6)), f"goaway {FRAME_SIZE}"),
    "PING ACK": (frame(PING, ACK, 0, bytes(8)), "open"),
    # GOAWAY (6.8)
    "GOAWAY on a stream": (frame(GOAWAY, 0, 1, bytes(8)), f"goaway {PROTOCOL}"),
    "GOAWAY too short": (frame(GOAWAY, 0, 0, bytes(7)), f"goaway {FRAME_SIZE}"),
    # WINDOW_UPDATE (6.9)
    "WINDOW_UPDATE by 0": (frame(WINDOW_UPDATE, 0, 0, number(0)), f"goaway {PROTOCOL}"),
    "WINDOW_UPDATE by 0 of a stream": (post() + frame(WINDOW_UPDATE, 0, 1, number(0)), f"reset {PROTOCOL}"),
    "WINDOW_UPDATE of a wrong length": (frame(WINDOW_UPDATE, 0, 0, b"abc"), f"goaway {FRAME_SIZE}"),
    "WINDOW_UPDATE over the maximum": (2 * frame(WINDOW_UPDATE, 0, 0, number(LAST)), f"goaway {FLOW_CONTROL}"),
    "WINDOW_UPDATE of a stream over the maximum": (
        post() + 2 * frame(WINDOW_UPDATE, 0, 1, number(LAST)),
        f"reset {FLOW_CONTROL}",
    ),
    "SETTINGS that overflow a window": (
        post() + frame(WINDOW_UPDATE, 0, 1, number(LAST - 65535)) + frame(SETTINGS, 0, 0, setting(4, 65536)),
        f"goaway {FLOW_CONTROL}",
    ),
    # CONTINUATION (6.10)
    "CONTINUATION on stream 0": (
        headers(request(), flags=1) + frame(CONTINUATION, END_HEADERS, 0),
        f"goaway {PROTOCOL}",
    ),
    "CONTINUATION of another stream": (
        headers(request(), flags=1) + frame(CONTINUATION, END_HEADERS, 3),
        f"goaway {PROTOCOL}",
    ),
    "CONTINUATION twice": (
        headers(request()[:5], flags=1)
        + frame(CONTINUATION, 0, 1, request()[5:9])
        + frame(CONTINUATION, END_HEADERS, 1, request()[9:]),
        "open",
    ),
    "CONTINUATION after the end": (get() + frame(CONTINUATION, END_HEADERS, 1), f"goaway {PROTOCOL}"),
    # Requests (8)
    "upper case in a name": (fields(*GOOD, ("X-A", "b")), f"reset {PROTOCOL}"),
    "empty name": (fields(*GOOD, ("", "b")), f"reset {PROTOCOL}"),
    "a space in a name": (fields(*GOOD, ("a b", "b")), f"reset {PROTOCOL}"),
    "a colon in a name": (fields(*GOOD, ("a:b", "b")), f"reset {PROTOCOL}"),
    "NUL in a value": (fields(*GOOD, ("a", "b\0")), f"reset {PROTOCOL}"),
    "CR LF in a value": (fields(*GOOD, ("a", "b\r\nc: d")), f"reset {PROTOCOL}"),
    "space before a value": (fields(*GOOD, ("a", " b")), f"reset {PROTOCOL}"),
    "tab behind a value": (fields(*GOOD, ("a", "b\t")), f"reset {PROTOCOL}"),
    "unknown pseudo-header": (fields(*GOOD, (":test", "b")), f"reset {PROTOCOL}"),
    "a response's pseudo-header": (fields(*GOOD, (":status", "200")), f"reset {PROTOCOL}"),
    "pseudo-header behind a header": (fields(*GOOD[:3], ("a", "b"), GOOD[3]), f"reset {PROTOCOL}"),
    "pseudo-header behind a cookie": (fields(*GOOD[:3], ("cookie", "b"), GOOD[3]), f"reset {PROTOCOL}"),
    "connection": (fields(*GOOD, ("connection", "keep-alive")), f"reset {PROTOCOL}"),
    "transfer-encoding": (fields(*GOOD, ("transfer-encoding", "chunked")), f"reset {PROTOCOL}"),
    "upgrade": (fields(*GOOD, ("upgrade", "h2c")), f"reset {PROTOCOL}"),
    "te other than trailers": (fields(*GOOD, ("te", "gzip")), f"reset {PROTOCOL}"),
    "te: trailers": (fields(*GOOD, ("te", "trailers")), "open"),
    "no method": (fields(*GOOD[1:]), f"reset {PROTOCOL}"),
    "no scheme": (fields(GOOD[0], *GOOD[2:]), f"reset {PROTOCOL}"),
    "no path": (fields(*GOOD[:2], GOOD[3]), f"reset {PROTOCOL}"),
    "no authority, no host": (fields(*GOOD[:3]), f"reset {PROTOCOL}"),
    "host instead of authority": (fields(*GOOD[:3], ("host", "a")), "open"),
    "host beside authority": (fields(*GOOD, ("host", "a")), "open"),
    "another host than authority": (fields(*GOOD, ("host", "b")), f"reset {PROTOCOL}"),
    "empty path": (fields(*GOOD[:2], (":path", ""), GOOD[3]), f"reset {PROTOCOL}"),
    "a path that is no path": (fields(*GOOD[:2], (":path", "text"), GOOD[3]), f"reset {PROTOCOL}"),
    "a space in the path": (fields(*GOOD[:2], (":path", "/a b"), GOOD[3]), f"reset {PROTOCOL}"),
    "8 bits in the path": (fields(*GOOD[:2], (":path", "/\xe9"), GOOD[3]), f"reset {PROTOCOL}"),
    "method twice": (fields(GOOD[0], *GOOD), f"reset {PROTOCOL}"),
    "path twice": (fields(*GOOD, GOOD[2]), f"reset {PROTOCOL}"),
    "protocol without CONNECT": (fields(*GOOD, (":protocol", "websocket")), f"reset {PROTOCOL}"),
    "CONNECT with a path": (fields((":method", "CONNECT"), *GOOD[1:]), f"reset {PROTOCOL}"),
    "content-length that is none": (headers(request("/text", "POST", ("content-length", "1x"))), f"reset {PROTOCOL}"),
    "two content-lengths": (
        post(1, ("content-length", "1"), ("content-length", "2")) + frame(DATA, 1, 1, b"x"),
        f"reset {PROTOCOL}",
    ),
    "content-length and no body": (headers(request("/text", "POST", ("content-length", "1"))), f"reset {PROTOCOL}"),
    "more than content-length": (post(1, ("content-length", "1")) + frame(DATA, 1, 1, b"xy"), f"reset {PROTOCOL}"),
    "less than content-length": (post(1, ("content-length", "3")) + frame(DATA, 1, 1, b"xy"), f"reset {PROTOCOL}"),
    "less in several frames": (
        post(1, ("content-length", "3")) + frame(DATA, 0, 1, b"x") + frame(DATA, 1, 1, b"y"),
        f"reset {PROTOCOL}",
    ),
    "less, then trailers": (
        post(1, ("content-length", "3")) + frame(DATA, 0, 1, b"x") + headers(block(("a", "b"))),
        f"reset {PROTOCOL}",
    ),
    "trailers": (post() + frame(DATA, 0, 1, b"x") + headers(block(("a", "b"))), "open"),
    "trailers that do not end": (post() + headers(block(("a", "b")), flags=END_HEADERS), f"reset {PROTOCOL}"),
    "trailers with a pseudo-header": (post() + headers(block((":path", "/"))), f"reset {PROTOCOL}"),
    "trailers in upper case": (post() + headers(block(("A", "b"))), f"reset {PROTOCOL}"),
    # HPACK
    "index 0": (headers(b"\x80"), f"goaway {COMPRESSION}"),
    "index of nothing": (headers(b"\xbe"), f"goaway {COMPRESSION}"),
    "index far away": (headers(b"\xff\xff\xff\xff\x7f"), f"goaway {COMPRESSION}"),
    "endless number": (headers(b"\xff" + b"\x80" * 20), f"goaway {COMPRESSION}"),
    "string behind the block": (headers(b"\x00\x7f\xff\x0aabc"), f"goaway {COMPRESSION}"),
    "block cut short": (headers(b"\x40"), f"goaway {COMPRESSION}"),
    "Huffman with EOS": (headers(request() + b"\x00\x01a\x84\xff\xff\xff\xff"), f"goaway {COMPRESSION}"),
    "Huffman padded with zeros": (headers(request() + b"\x00\x01a\x81\x00"), f"goaway {COMPRESSION}"),
    "Huffman padded too long": (headers(request() + b"\x00\x01a\x82\x1f\xff"), f"goaway {COMPRESSION}"),
    "table size update at the end": (headers(request() + b"\x20"), f"goaway {COMPRESSION}"),
    "table size too large": (headers(b"\x3f\xe2\x1f" + request()), f"goaway {COMPRESSION}"),
    "table size updates": (headers(b"\x20\x3f\xe1\x1f" + request()), "open"),
    "bad block on a closed stream": (get() + frame(HEADERS, 5, 1, b"\xbe"), f"goaway {COMPRESSION}"),
    # Floods
    "flood of PING": (150 * frame(PING, 0, 0, bytes(8)), f"goaway {CALM}"),
    "flood of SETTINGS": (60 * frame(SETTINGS), f"goaway {CALM}"),
    "flood of SETTINGS ACK": (60 * frame(SETTINGS, ACK), f"goaway {CALM}"),
    "flood of empty DATA": (post() + 1100 * frame(DATA, 0, 1), f"goaway {CALM}"),
    "flood of padding": (post() + 1200 * frame(DATA, PADDED, 1, b"\0"), f"goaway {CALM}"),
    "flood of PRIORITY": (1100 * frame(PRIORITY, 0, 9, bytes(5)), f"goaway {CALM}"),
    "flood of WINDOW_UPDATE": (30000 * frame(WINDOW_UPDATE, 0, 0, number(1)), f"goaway {CALM}"),
    "flood of unknown frames": (1100 * frame(0x77), f"goaway {CALM}"),
    "flood of CONTINUATION": (headers(b"", flags=1) + 200 * frame(CONTINUATION, 0, 1), f"goaway {CALM}"),
    "header block without end": (
        headers(b"", flags=1) + 8 * frame(CONTINUATION, 0, 1, bytes(16384)),
        f"goaway {CALM}",
    ),
    "rapid reset": (
        b"".join(get(i) + frame(RST_STREAM, 0, i, number(8)) for i in range(1, 800, 2)),
        f"goaway {CALM}",
    ),
    "made to reset": (
        b"".join(post(i) + frame(WINDOW_UPDATE, 0, i, number(0)) for i in range(1, 800, 2)),
        f"goaway {CALM}",
    ),
    "malformed without end": (b"".join(get(i, "/", ("A", "b")) for i in range(1, 800, 2)), f"goaway {CALM}"),
    "bomb of references": (headers(request() + ENTRY + b"\xbe" * 12000), f"goaway {CALM}"),
    "large blocks without end": (
        headers(request() + ENTRY) + b"".join(headers(request() + b"\xbe" * 20, i) for i in range(3, 100, 2)),
        f"goaway {CALM}",
    ),
    "refused without end": (b"".join(post(i, path="/slow") for i in range(1, 1000, 2)), f"goaway {CALM}"),
}


@pytest.mark.parametrize("name", CASES)
def test_rule(name: str) -> None:
    frames, expected = CASES[name]

    async def slow_app(scope: object, receive: object, send: object) -> None:
        if scope["path"] == "/slow":  # type: ignore[index]
            await asyncio.sleep(5)
        await asgi_app(scope, receive, send)

    async def check() -> None:
        async with served(slow_app) as server:
            client = await Client.connect(server)
            client.send(frames)
            assert await client.outcome() == expected
            if expected.startswith("goaway"):
                await client.until(lambda: False)
                assert client.closed
            else:  # the connection serves on
                client.send(get(2001))
                assert (await client.answer(2001)).body == b"text"

    run(check())


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith(("flood", "rapid", "refused", "made"))])
def test_rule_byte_by_byte(name: str) -> None:
    """The same, read in pieces of one byte, by the connection itself."""
    from fuzzing import RecordingTransport

    from aeros.worker.assembly import make_service
    from aeros.worker.http1.connection import HTTP1Connection

    frames, expected = CASES[name]
    frames = PREFACE + frame(SETTINGS) + frames
    if len(frames) > 5000:
        return

    async def check() -> None:
        service = make_service(asgi_app, quiet_config(), loop=asyncio.get_running_loop())
        connections = service.connections
        connection = HTTP1Connection(service)
        transport = RecordingTransport(connection)
        connection.connection_made(transport)
        for index in range(len(frames)):
            transport.protocol.data_received(frames[index : index + 1])  # type: ignore[attr-defined]
            if not index % 7:
                await asyncio.sleep(0)
        await asyncio.sleep(0)
        seen = Client(None, None)  # type: ignore[arg-type]
        written, at = bytes(transport.written), 0
        while at < len(written):
            end = at + 9 + int.from_bytes(written[at : at + 3], "big")
            seen._take(
                written[at + 3], written[at + 4], int.from_bytes(written[at + 5 : at + 9], "big"), written[at + 9 : end]
            )
            at = end
        codes = [f"goaway {code}" for _, code in seen.goaways if code]
        codes += [f"reset {answer.reset}" for answer in seen.answers.values() if answer.reset]
        # Here the app may have answered between two frames.
        if not name.startswith(("half closed", "smaller", "bad block")):
            assert (codes or ["open"])[0] == expected
        connections.begin_drain("stop")
        connections.abort()
        await asyncio.wait_for(connections.drained(), 2)

    run(check())


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + frame(SETTINGS), f"goaway {PROTOCOL}"),
        (PREFACE + get(), f"goaway {PROTOCOL}"),
        (PREFACE + frame(SETTINGS, ACK), f"goaway {PROTOCOL}"),
        (PREFACE + frame(PING, 0, 0, bytes(8)), f"goaway {PROTOCOL}"),
        (PREFACE + frame(SETTINGS), "open"),
    ],
)
def test_the_beginning(first: bytes, expected: str) -> None:
    async def check() -> None:
        async with served(asgi_app) as server:
            client = await Client.connect(server, first)
            assert await client.outcome() == expected

    run(check())


def test_more_streams_than_allowed_are_refused() -> None:
    async def app(scope: object, receive: object, send: object) -> None:
        await asyncio.sleep(0.3)
        await asgi_app(scope, receive, send)

    async def check() -> None:
        async with served(app, config=quiet_config(h2_max_concurrent_streams=3)) as server:
            client = await Client.connect(server)
            client.send(*(get(stream) for stream in (1, 3, 5, 7)))
            assert (await client.answer(7)).reset == REFUSED
            for stream in (1, 3, 5):
                assert (await client.answer(stream)).body == b"text"
            client.send(get(9))
            assert (await client.answer(9)).body == b"text"

    run(check())


def test_requests_too_large_are_answered() -> None:
    async def check() -> None:
        async with served(asgi_app, config=quiet_config(h2_max_header_list_size=2000)) as server:
            client = await Client.connect(server)
            client.send(get(1, "/text", ("a", "b" * 3000)))
            assert (await client.answer(1)).status == 431
            client.send(get(3, "/text", *((f"a{index}", "") for index in range(300))))
            assert (await client.answer(3)).status == 431
            client.send(get(5))
            assert (await client.answer(5)).status == 200
        async with served(asgi_app) as server:
            client = await Client.connect(server)
            client.send(get(1, "/text", *((f"a{index}", "") for index in range(300))))
            assert (await client.answer(1)).status == 431
            client.send(get(3, "/" + "a" * 9000))
            assert (await client.answer(3)).status == 414
            client.send(frame(HEADERS, 5, 5, block((":method", "CONNECT"), (":authority", "a:1"))))
            assert (await client.answer(5)).status == 501
            client.send(frame(HEADERS, 5, 7, block(*GOOD[:3], (":authority", "a@b"))))
            assert (await client.answer(7)).status == 400

    run(check())


def test_a_bomb_of_references_costs_no_memory() -> None:
    async def check() -> None:
        async with served(asgi_app) as server:
            client = await Client.connect(server)
            client.send(headers(request() + ENTRY, 1))
            assert (await client.answer(1)).status == 200
            client.send(headers(request() + b"\xbe" * 20, 3))
            assert (await client.answer(3)).status == 431
            client.send(get(5))
            assert (await client.answer(5)).status == 200

    run(check())


@pytest.mark.parametrize("kind", ["asgi", "quart"])
def test_a_reset_is_a_disconnect(kind: str) -> None:
    gone: list[str] = []

    async def app(scope: object, receive: object, send: object) -> None:
        while (await receive())["type"] != "http.disconnect":  # type: ignore[operator]
            pass
        gone.append("asgi")

    quart_app = make_quart()

    @quart_app.get("/wait")
    async def wait() -> str:
        try:
            await asyncio.sleep(10)
        finally:
            gone.append("quart")
        return ""

    async def check() -> None:
        async with served(app if kind == "asgi" else quart_app) as server:
            client = await Client.connect(server)
            client.send(get(1, "/wait"))
            assert await client.outcome() == "open"
            client.send(frame(RST_STREAM, 0, 1, number(8)))
            await eventually(lambda: gone == [kind])
            assert server.service is not None
            await eventually(lambda: server.connections.running == 0)  # type: ignore[union-attr]

    run(check())
