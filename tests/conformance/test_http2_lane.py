"""HTTP/2 by the lane: what apps and clients see, beside Hypercorn's own classes where they are to do the same."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from apps import LeanApp, asgi_app, make_quart
from h2_frames import (
    CANCEL,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INTERNAL,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Answer,
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
from quart import Quart
from quart import request as quart_request

from aeros.worker.http1 import leftover
from aeros.worker.http2 import departure as http2_departure
from aeros.worker.http2 import slow_clients as http2_slow
from aeros.worker.http2 import stream as http2_stream
from aeros.worker.http2.streams import CONNECTION_WINDOW
from aeros.worker.lane.limits import Limits
from aeros.worker.websocket import message_share

PATHS = ["lane", "hypercorn"]


def normal(answer: Answer) -> Any:
    # The lane names itself, and gives no length to what has no body.
    fixed = {b"date": b"D", b"server": b"S"}
    dropped = b"content-length" if answer.status in (204, 304) else b""
    headers = [(name, fixed.get(name, value)) for name, value in answer.headers if name != dropped]
    return answer.status, headers, re.sub(rb'"host": "[^"]*"', b"", answer.body), answer.trailers, answer.ended


#: Ordinary requests: (frames on stream 1, settings of the config).
ORDINARY: dict[str, tuple[bytes, dict[str, Any]]] = {
    "get": (get(), {}),
    "what is seen": (get(1, "/a%20b/c?d=e%20f&g", ("x-a", "1"), ("x-a", "2"), ("accept", "*/*")), {}),
    "cookies": (get(1, "/seen", ("cookie", "a=b"), ("x", "y"), ("cookie", "c=d")), {}),
    "host beside authority": (get(1, "/seen", ("host", "a")), {}),
    "root path": (get(1, "/mount/seen"), {"root_path": "/mount"}),
    "head": (frame(HEADERS, 5, 1, request("/text", "HEAD")), {}),
    "status": (get(1, "/status/404"), {}),
    "204": (get(1, "/status/204"), {}),
    "304": (get(1, "/status/304"), {}),
    "headers": (get(1, "/headers"), {}),
    "stream": (get(1, "/stream"), {}),
    "post": (post() + frame(DATA, 1, 1, b"hello"), {}),
    "post in parts": (post() + frame(DATA, 0, 1, b"he") + frame(DATA, 0, 1, b"llo") + frame(DATA, 1, 1), {}),
    "post with a length": (post(1, ("content-length", "5"), path="/seen") + frame(DATA, 1, 1, b"hello"), {}),
    "padded": (post(path="/seen") + frame(DATA, 9, 1, b"\x03hello\0\0\0"), {}),
    "trailers": (post(path="/seen") + frame(DATA, 0, 1, b"x") + frame(HEADERS, 5, 1, block(("a", "b"))), {}),
    "no date, no server": (get(), {"include_date_header": False, "include_server_header": False}),
    "alt-svc": (get(), {"alt_svc_headers": ['h3=":443"']}),
    "server name": (get(), {"server_names": ["a"]}),
    "another server name": (get(), {"server_names": ["b"]}),
    "an app that fails": (get(1, "/fail"), {}),
}


@pytest.mark.parametrize("kind", ["asgi", "quart"])
@pytest.mark.parametrize("name", ORDINARY)
def test_as_by_hypercorn(name: str, kind: str) -> None:
    frames, configured = ORDINARY[name]

    async def check() -> None:
        answers = []
        for path in PATHS:
            app = asgi_app if kind == "asgi" else make_quart()
            async with served(app, path, quiet_config(**configured)) as server:
                client = await Client.connect(server)
                client.send(frames)
                answers.append(normal(await client.answer()))
        assert answers[0] == answers[1]
        assert answers[0][-1]

    run(check())


def test_the_settings() -> None:
    async def check() -> None:
        config = quiet_config(
            h2_max_concurrent_streams=7, h2_max_header_list_size=5000, h2_max_inbound_frame_size=1 << 16
        )
        async with served(asgi_app, config=config) as server:
            client = await Client.connect(server)
            await client.until(lambda: client.acks and 0 in client.updates)
            assert client.settings == {3: 7, 4: http2_stream.WINDOW, 5: 1 << 16, 6: 5000, 8: 1}
            assert client.updates[0] == CONNECTION_WINDOW - 65535
            client.send(post(1, path="/seen") + frame(DATA, 1, 1, bytes(60000)))
            assert json.loads((await client.answer()).body)["body"] == 60000

    run(check())


@pytest.mark.parametrize("kind", ["asgi", "quart"])
def test_the_clients_windows_are_kept(kind: str) -> None:
    app = make_quart()

    @app.get("/large")
    async def large() -> bytes:
        return b"x" * 300_000

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/text":
            await asgi_app(scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x" * 300_000})

    async def check() -> None:
        async with served(app if kind == "quart" else asgi) as server:
            client = await Client.connect(server)
            client.send(frame(SETTINGS, 0, 0, setting(4, 1000)), get(1, "/large"))
            assert await client.outcome() == "open"
            await client.until(lambda: len(client.answers[1].body) == 1000)
            client.send(frame(WINDOW_UPDATE, 0, 1, number(50)))
            await client.until(lambda: len(client.answers[1].body) == 1050)
            client.send(frame(SETTINGS, 0, 0, setting(4, 2000)))
            await client.until(lambda: len(client.answers[1].body) == 2050)
            # Less than was used already: nothing comes until the client has given back as much.
            client.send(frame(SETTINGS, 0, 0, setting(4, 100)), frame(WINDOW_UPDATE, 0, 1, number(1900)))
            assert await client.outcome() == "open"
            assert len(client.answers[1].body) == 2050
            client.send(frame(WINDOW_UPDATE, 0, 1, number(1 << 20)))
            await client.until(lambda: len(client.answers[1].body) == 65535)  # the connection's
            client.send(get(3))  # a head needs no window
            await client.until(lambda: client.answers.get(3, Answer()).status == 200)
            client.send(frame(WINDOW_UPDATE, 0, 0, number(1 << 20)))
            assert len((await client.answer(1)).body) == 300_000
            assert (await client.answer(3)).ended

    run(check())


def test_streams_take_turns() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 200_000})

    async def check() -> None:
        async with served(app) as server:
            client = await Client.connect(server)
            client.send(frame(SETTINGS, 0, 0, setting(4, 1 << 20)), *(get(stream) for stream in (1, 3, 5)))
            await client.until(lambda: sum(len(answer.body) for answer in client.answers.values()) == 65535)
            client.send(frame(WINDOW_UPDATE, 0, 0, number(1 << 18)))
            await client.until(lambda: sum(len(answer.body) for answer in client.answers.values()) == 65535 + (1 << 18))
            taken = sorted(len(answer.body) for answer in client.answers.values())
            assert taken[0] > 60_000

    run(check())


@pytest.mark.parametrize("kind", ["asgi", "quart"])
def test_a_body_that_is_not_read_is_bounded(kind: str) -> None:
    go = asyncio.Event()
    app = Quart(__name__)
    lengths: list[int] = []

    @app.post("/")
    async def slowly() -> str:
        await go.wait()
        async for part in quart_request.body:
            lengths.append(len(part))
        return "done"

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        more = True
        while more:
            message = await receive()
            lengths.append(len(message["body"]))
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    async def check() -> None:
        async with served(app if kind == "quart" else asgi) as server:
            client = await Client.connect(server)
            await client.until(lambda: bool(client.acks))
            client.send(post(path="/"))
            window, sent, total = http2_stream.WINDOW, 0, 2_000_000
            while sent < window:
                client.send(frame(DATA, 0, 1, bytes(16384)))
                sent += 16384
            assert await client.outcome() == "open"
            # Some credit may be given for what is kept ahead, but no more.
            while sent < window + client.updates.get(1, 0):
                client.send(frame(DATA, 0, 1, bytes(min(16384, window + client.updates.get(1, 0) - sent))))
                sent = min(sent + 16384, window + client.updates.get(1, 0))
                assert await client.outcome() == "open"
            assert sent <= window + window // 2 + http2_stream.READ_AHEAD
            go.set()
            while sent < total:
                room = window + client.updates.get(1, 0) - sent
                if room <= 0:
                    await client.read()
                    continue
                part = min(16384, room, total - sent)
                sent += part
                client.send(frame(DATA, END_STREAM if sent == total else 0, 1, bytes(part)))
            assert (await client.answer()).body == b"done"
            assert sum(lengths) == total
            assert max(lengths) <= window + window // 2 + http2_stream.READ_AHEAD

    run(check())


def test_one_stalled_upload_does_not_stop_another() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/stalled":
            await asyncio.sleep(10)
        await asgi_app(scope, receive, send)

    async def check() -> None:
        async with served(app) as server:
            client = await Client.connect(server)
            await client.until(lambda: bool(client.acks))
            client.send(post(1, path="/stalled"), *(frame(DATA, 0, 1, bytes(16384)) for _ in range(16)))
            client.send(post(3, path="/seen"), *(frame(DATA, 0, 3, bytes(16384)) for _ in range(15)))
            client.send(frame(DATA, END_STREAM, 3, b"x"))
            assert json.loads((await client.answer(3)).body)["body"] == 15 * 16384 + 1

    run(check())


@pytest.mark.parametrize(("path", "status"), [("/early", 200), ("/raises", 500), ("/" + "x" * 9000, 414)])
def test_what_is_left_of_an_upload_is_dropped(path: str, status: int) -> None:
    """Many times the windows, without a reset: curl 7.88 and others would take that for a failure."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/raises":
            raise RuntimeError("on purpose")
        await asgi_app(scope, receive, send)

    async def check() -> None:
        async with served(app) as server:
            client = await Client.connect(server)
            client.send(post(1, path=path))
            answer = client.answers[1]
            sent = 0
            for _ in range(200):
                await client.until(lambda sent=sent: room_of(client) - sent >= 16384)  # type: ignore[misc]
                client.send(frame(DATA, 0, 1, bytes(16384)))
                sent += 16384
            client.send(frame(DATA, END_STREAM, 1, b"x"), get(3))
            assert (await client.answer(3)).body == b"text"
            assert (answer.status, answer.ended, answer.reset) == (status, True, None)
            assert not client.goaways
            (connection,) = server.connections.open  # type: ignore[union-attr]
            assert not connection.streams.open  # type: ignore[attr-defined]

    run(check())


def room_of(client: Client) -> int:
    """Return how much may be sent on the first stream in all."""
    return min(65535 + client.updates.get(0, 0), client.settings.get(4, 65535) + client.updates.get(1, 0))


def test_the_end_of_a_good_response_waits_for_a_client_that_still_sends() -> None:
    """An error does not; nor does it for a client that is silent."""

    async def check() -> None:
        async with served(asgi_app) as server:
            client = await Client.connect(server)
            client.send(post(1, path="/early"), frame(DATA, 0, 1, bytes(1000)))
            answer = client.answers[1]
            await client.until(lambda: answer.status == 200)
            client.send(frame(PING, 0, 0, b"whatever"))
            await client.until(lambda: b"whatever" in client.pongs)
            assert not answer.body
            client.send(frame(DATA, END_STREAM, 1, b"x"))
            await client.until(lambda: answer.ended)
            assert (answer.body, answer.reset) == (b"early", None)
            client.send(post(3, path="/early"))
            assert (await client.answer(3)).body == b"early"
            client.send(frame(DATA, END_STREAM, 3, b"late"), get(5))
            assert (await client.answer(5)).body == b"text"
            assert client.answers[3].reset is None

    run(check())


@pytest.mark.parametrize("end", ["stalls", "endless"])
def test_the_rest_of_an_upload_is_dropped_within_bounds(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    monkeypatch.setattr(http2_stream, "REST_WINDOW_S", 0.3)
    monkeypatch.setattr(http2_stream, "PAUSE_S", 0.1)
    monkeypatch.setattr(leftover, "DROP_MAX", 100_000)

    async def check() -> None:
        async with served(asgi_app) as server:
            client = await Client.connect(server)
            client.send(post(1, path="/early"))
            if end == "endless":
                client.send(*(frame(DATA, 0, 1, bytes(16384)) for _ in range(15)))
            answer = client.answers[1]
            await client.until(lambda: answer.reset is not None)
            assert (answer.body, answer.ended, answer.reset) == (b"early", True, 0)
            client.send(frame(DATA, 0, 1, b"on its way"), get(3))
            assert (await client.answer(3)).body == b"text"
            assert not client.goaways

    run(check())


@pytest.mark.parametrize(("length", "body"), [(5, b"abc"), (2, b"abc")])
def test_a_response_of_a_wrong_length_is_reset(length: int, body: bytes) -> None:
    """Or is a 500, while nothing of it was sent."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"%d" % length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["path"] == "/late":
            await asyncio.sleep(0.1)
        await send({"type": "http.response.body", "body": body})

    async def check() -> None:
        async with served(app) as server:
            client = await Client.connect(server)
            client.send(get(1, "/late"))
            assert (await client.answer()).reset == INTERNAL
            client.send(get(3))
            assert (await client.answer(3)).status == 500

    run(check())


@pytest.mark.parametrize("path", PATHS)
def test_the_messages_only_http2_knows(path: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/pushed":
            headers = [(b"x-seen", b"/".join(value for name, value in scope["headers"] if name in (b"host", b"x-a")))]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"pushed"})
            return
        await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
        await send({"type": "http.response.push", "path": "/pushed", "headers": [(b"x-a", b"b")]})
        await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
        await send({"type": "http.response.body", "body": b"body"})
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")], "more_trailers": False})

    async def check() -> None:
        async with served(app, path) as server:
            client = await Client.connect(server)
            client.send(get(1, "/", ("te", "trailers")))
            answer = await client.answer()
            assert answer.body == b"body"
            assert answer.trailers == [(b"x-sum", b"1")]
            assert (b"link", b"</a.css>; rel=preload") in answer.informational[0]
            assert client.promised[2][:4] == [
                (b":method", b"GET"),
                (b":path", b"/pushed"),
                (b":scheme", b"http"),
                (b":authority", b"a"),
            ]
            pushed = await client.answer(2)
            assert pushed.body == b"pushed"
            assert (b"x-seen", b"a/b") in pushed.headers
            # To a client that does not ask for trailers none are sent; nor a push to one that wants none.
            client.send(frame(SETTINGS, 0, 0, setting(2, 0)), get(3))
            answer = await client.answer(3)
            assert (answer.body, answer.trailers) == (b"body", None)
            assert list(client.promised) == [2]

    run(check())


def test_push_promises_of_quart() -> None:
    app = LeanApp(__name__)

    @app.get("/")
    async def home() -> str:
        from quart import make_push_promise

        await make_push_promise("/style")
        return "home"

    @app.get("/style")
    async def style() -> str:
        return "style"

    async def check() -> None:
        async with served(app) as server:
            client = await Client.connect(server)
            client.send(get(1, "/"))
            assert (await client.answer(1)).body == b"home"
            assert (await client.answer(2)).body == b"style"
            # What stands for a push counts as a stream of ours, and is gone when it is answered.
            client.send(frame(SETTINGS, 0, 0, setting(3, 0)), get(3, "/"))
            assert (await client.answer(3)).body == b"home"
            assert list(client.promised) == [2]

    run(check())


def test_expect_continue() -> None:
    async def check() -> None:
        async with served(asgi_app) as server:
            client = await Client.connect(server)
            client.send(post(1, ("expect", "100-continue"), path="/seen"))
            await client.until(lambda: bool(client.answers[1].informational))
            assert client.answers[1].informational == [[(b":status", b"100")]]
            client.send(frame(DATA, 1, 1, b"x"))
            assert (await client.answer()).status == 200
            client.send(post(3, ("expect", "100-continue"), path="/early"))
            assert (await client.answer(3)).informational == []  # it did not ask for the body

    run(check())


# Limits


def slow_app(scope: Any, receive: Any, send: Any) -> Any:
    async def serve() -> None:
        if scope["path"] == "/slow":
            await asyncio.sleep(2)
        await asgi_app(scope, receive, send)

    return serve()


@pytest.mark.parametrize("kind", ["asgi", "quart"])
def test_bodies_too_large(kind: str) -> None:
    async def check() -> None:
        app = asgi_app if kind == "asgi" else make_quart()
        async with served(app, limits=Limits(body_bytes=10)) as server:
            client = await Client.connect(server)
            client.send(post(1, ("content-length", "11"), path="/seen"))
            assert (await client.answer(1)).status == 413
            client.send(post(3, path="/seen"), frame(DATA, 0, 3, bytes(11)))
            assert (await client.answer(3)).status == 413
            client.send(post(5, path="/seen"), frame(DATA, 1, 5, bytes(10)))
            assert (await client.answer(5)).status == 200

    run(check())


def test_requests_that_take_too_long_and_too_many() -> None:
    async def check() -> None:
        async with served(slow_app, limits=Limits(request_timeout_s=0.2)) as server:
            client = await Client.connect(server)
            client.send(get(1, "/slow"), get(3))
            assert (await client.answer(3)).status == 200
            assert (await client.answer(1)).status == 504
            await eventually(lambda: server.connections.running == 0)  # type: ignore[union-attr]
        async with served(slow_app, limits=Limits(concurrency=1, queue=0)) as server:
            client = await Client.connect(server)
            client.send(get(1, "/slow"), get(3))
            answer = await client.answer(3)
            assert answer.status == 503
            assert (b"retry-after", b"1") in answer.headers

    run(check())


def test_a_response_that_takes_too_long_is_reset() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            await asyncio.sleep(0.05)

    async def check() -> None:
        async with served(app, limits=Limits(request_timeout_s=0.3)) as server:
            client = await Client.connect(server)
            client.send(get(1))
            answer = await client.answer()
            assert answer.status == 200
            assert answer.reset == INTERNAL

    run(check())


def test_slow_heads_and_bodies_and_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2_slow, "BODY_WINDOW_S", 0.3)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/large":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x" * 300_000})
        else:
            await asgi_app(scope, receive, send)

    async def check() -> None:
        limits = Limits(header_timeout_s=0.3, min_data_rate=100, write_timeout_s=0.3)
        async with served(app, config=quiet_config(keep_alive_timeout=30), limits=limits) as server:
            client = await Client.connect(server)
            client.send(frame(HEADERS, 1, 1, request()))  # and no CONTINUATION
            await client.until(lambda: False, 2)
            assert client.goaways
            client = await Client.connect(server)
            client.send(get()[:12])
            await client.until(lambda: False, 2)
            assert client.goaways
            client = await Client.connect(server)
            client.send(post(1), frame(DATA, 0, 1, b"x"), get(3))
            assert (await client.answer(1)).status == 408
            assert (await client.answer(3)).status == 200
            client.send(get(5, "/large"))  # and no WINDOW_UPDATE
            assert (await client.answer(5)).reset == CANCEL

    run(check())


def test_a_reader_that_stalls_is_cut_after_one_period(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever in another one's period it begins; and so is a body that stalls."""
    monkeypatch.setattr(http2_slow, "BODY_WINDOW_S", 2.0)
    period = 2.0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 300_000})

    async def check() -> None:
        async with served(app, limits=Limits(write_timeout_s=period)) as server:
            loop = asyncio.get_running_loop()
            client = await Client.connect(server)
            began = []
            for stream in (1, 3):
                began.append(loop.time())
                client.send(get(stream))  # and no WINDOW_UPDATE
                with contextlib.suppress(TimeoutError):
                    await client.until(lambda: False, period / 4)
            for stream, begun in zip((1, 3), began, strict=True):
                assert (await client.answer(stream)).reset == CANCEL
                assert period - 0.1 <= loop.time() - begun < 1.9 * period
        async with served(asgi_app, limits=Limits(min_data_rate=100)) as server:
            client = await Client.connect(server)
            begun = loop.time()
            client.send(post(1), frame(DATA, 0, 1, b"x"))
            assert (await client.answer(1)).status == 408
            assert period - 0.1 <= loop.time() - begun < 1.9 * period

    run(check())


def test_times_of_connections() -> None:
    async def check() -> None:
        async with served(slow_app, config=quiet_config(keep_alive_timeout=0.3)) as server:
            client = await Client.connect(server)
            client.send(get(1))
            assert (await client.answer()).status == 200
            await client.until(lambda: False, 2)
            assert client.goaways == [(1, 0)]
            client = await Client.connect(server)
            client.send(get(1, "/slow"))  # busy, for longer than that
            assert (await client.answer()).status == 200
        async with served(slow_app, config=quiet_config(read_timeout=0.3, keep_alive_timeout=30)) as server:
            client = await Client.connect(server)
            client.send(post(1))
            await client.until(lambda: False, 2)
            assert client.closed

    run(check())


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_an_end_over_tls_raises_nothing(loop: str, tmp_path: Path) -> None:
    key, crt = tmp_path / "key", tmp_path / "crt"
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run([*new, "-subj", "/CN=a", "-keyout", key, "-out", crt], check=True, capture_output=True)
    errors: list[Any] = []

    async def check() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        config = quiet_config(certfile=str(crt), keyfile=str(key))
        trusting = ssl.create_default_context(cafile=str(crt))
        trusting.check_hostname = False
        trusting.set_alpn_protocols(["h2"])
        async with served(asgi_app, config=config, context=config.create_ssl_context()) as server:
            client = await Client.connect(server, ssl=trusting)
            client.send(get(1))
            assert (await client.answer()).body == b"text"
            client.send(frame(GOAWAY, 0, 0, bytes(8)))  # as h2load leaves
            client._writer.close()
            await eventually(lambda: len(server.connections.open) == 0)  # type: ignore[union-attr]

    run(check(), loop)
    assert not errors, errors


def test_requests_of_a_connection_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check() -> None:
        async with served(asgi_app, config=quiet_config(keep_alive_max_requests=3)) as server:
            client = await Client.connect(server)
            client.send(get(1), get(3), get(5), get(7))
            for stream in (1, 3, 5, 7):
                assert (await client.answer(stream)).body == b"text"
            await client.until(lambda: False, http2_departure.GOAWAY_GRACE_S + 2)
            assert client.goaways == [(2**31 - 1, 0), (7, 0)]
            assert client.closed

    run(check())


def test_by_default_no_number_of_requests_ends_a_connection() -> None:
    async def check() -> None:
        async with served(asgi_app) as server:
            client = await Client.connect(server)
            for stream in range(1, 2 * 1100, 2):
                client.send(get(stream))
                assert (await client.answer(stream)).body == b"text"
            assert not client.goaways

    run(check())


def test_a_client_that_leaves_gets_its_answers() -> None:
    async def check() -> None:
        async with served(slow_app) as server:
            client = await Client.connect(server)
            client.send(get(1, "/slow"), frame(GOAWAY, 0, 0, bytes(8)))
            assert (await client.answer()).body
            await client.until(lambda: False, 2)
            assert client.closed

    run(check())


def test_a_client_that_is_gone() -> None:
    ended: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        ended.append("told")

    async def check() -> None:
        async with served(app) as server:
            client = await Client.connect(server)
            client.send(get(1), get(3))
            assert await client.outcome() == "open"
            client.abort()
            await eventually(lambda: ended == ["told", "told"])
            await eventually(lambda: len(server.connections.open) == 0)  # type: ignore[union-attr]
            await eventually(lambda: server.connections.running == 0)  # type: ignore[union-attr]

    run(check())


def test_a_client_that_does_not_read_makes_senders_wait() -> None:
    sent = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": bytes(16384), "more_body": True})
            sent += 16384
            await asyncio.sleep(0)

    async def check() -> None:
        async with served(app) as server:
            client = await Client.connect(server)
            client.send(frame(SETTINGS, 0, 0, setting(4, 2**31 - 1)), frame(WINDOW_UPDATE, 0, 0, number(2**30)))
            assert await client.outcome() == "open"
            client.pause()
            client.send(get(1), get(3))
            before = -1
            for _ in range(20):
                await asyncio.sleep(0.1)
                if before == sent > 0:
                    break
                before = sent
            assert 0 < sent == before < 20 << 20  # what the kernel's buffers hold
            client.abort()

    run(check())


# WebSockets (RFC 8441)


def connect(stream: int = 1, path: str = "/ws", *more: tuple[str, str]) -> bytes:
    pairs = (
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "a"),
        ("sec-websocket-version", "13"),
    )
    return frame(HEADERS, END_HEADERS, stream, block(*pairs, *more))


def masked(payload: bytes, opcode: int = 1) -> bytes:
    return bytes((0x80 | opcode, 0x80 | len(payload))) + bytes(4) + payload


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["asgi", "quart"])
def test_a_websocket(kind: str, path: str) -> None:
    async def check() -> None:
        async with served(asgi_app if kind == "asgi" else make_quart(), path) as server:
            client = await Client.connect(server)
            client.send(connect(1))
            await client.until(lambda: client.answers[1].status == 200)
            answer = client.answers[1]
            client.send(frame(DATA, 0, 1, masked(b"hello")), get(3))
            await client.until(lambda: answer.body == b"\x81\x05hello")
            assert (await client.answer(3)).status == 200
            client.send(frame(DATA, 0, 1, masked((1000).to_bytes(2, "big"), 8)))
            await client.until(lambda: answer.body.endswith(b"\x88\x02\x03\xe8"))
            client.send(frame(DATA, END_STREAM, 1))
            assert server.service is not None
            await eventually(lambda: not server.connections.websockets)  # type: ignore[union-attr]

    run(check())


@pytest.mark.parametrize("end", ["reset", "end of stream", "end of connection"])
def test_a_websocket_whose_client_leaves(end: str) -> None:
    codes: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        codes.append((await receive())["code"])

    async def check() -> None:
        async with served(app) as server:
            client = await Client.connect(server)
            client.send(connect(1))
            await client.until(lambda: client.answers[1].status == 200)
            if end == "reset":
                client.send(frame(RST_STREAM, 0, 1, number(8)))
            elif end == "end of stream":
                client.send(frame(DATA, END_STREAM, 1))
            else:
                client.abort()
            await eventually(lambda: codes == [1006])
            await eventually(lambda: server.connections.running == 0)  # type: ignore[union-attr]

    run(check())


def test_half_a_message_of_a_websocket_is_in_the_budget_for_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_share, "BODY_WINDOW_S", 0.3)

    async def check() -> None:
        async with served(asgi_app) as server:
            assert server.service is not None
            budget = server.service.bodies
            assert budget is not None
            client = await Client.connect(server)
            half = b"\x82\xff" + (1 << 20).to_bytes(8, "big") + bytes(4) + bytes(40_000)
            client.send(connect(1))
            await client.until(lambda: client.answers[1].status == 200)
            client.send(*(frame(DATA, 0, 1, half[at : at + 16_000]) for at in range(0, len(half), 16_000)))
            await eventually(lambda: budget.held == 40_000)
            await client.until(lambda: client.answers[1].reset == 11)  # what comes no further is ended
            await eventually(lambda: budget.held == 0)

    run(check())


@pytest.mark.parametrize(("reason", "code"), [("reload", 1012), ("stop", 1001)])
def test_a_websocket_is_told_of_a_drain(reason: Any, code: int) -> None:
    async def check() -> None:
        async with served(asgi_app) as server:
            client = await Client.connect(server)
            client.send(connect(1))
            await client.until(lambda: client.answers[1].status == 200)
            assert server.service is not None
            server.connections.begin_drain(reason)
            await client.until(lambda: client.answers[1].body == b"\x88\x02" + code.to_bytes(2, "big"))
            client.send(frame(DATA, 0, 1, masked(code.to_bytes(2, "big"), 8)), frame(DATA, END_STREAM, 1))
            await asyncio.wait_for(server.connections.drained(), 3)

    run(check())


@pytest.mark.parametrize("path", PATHS)
def test_websockets_that_are_refused(path: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if scope["path"] == "/raw":
            headers = [(b"x", b"y")]
            await send({"type": "websocket.http.response.start", "status": 401, "headers": headers})
            await send({"type": "websocket.http.response.body", "body": b"no"})
        else:
            await send({"type": "websocket.close"})

    async def check() -> None:
        async with served(app, path) as server:
            client = await Client.connect(server)
            client.send(connect(1))
            assert (await client.answer(1)).status == 403
            client.send(connect(3, "/raw"))
            answer = await client.answer(3)
            assert (answer.status, answer.body) == (401, b"no")

    run(check())


def test_a_protocol_nobody_knows() -> None:
    async def check() -> None:
        async with served(asgi_app) as server:
            client = await Client.connect(server)
            pairs = ((":method", "CONNECT"), (":protocol", "x"), (":scheme", "http"), (":path", "/"))
            client.send(frame(HEADERS, END_HEADERS, 1, block(*pairs, (":authority", "a"))))
            assert (await client.answer()).status == 501

    run(check())


def test_a_websocket_takes_messages_as_its_app_does() -> None:
    go = asyncio.Event()
    got = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal got
        await receive()
        await send({"type": "websocket.accept"})
        await go.wait()
        while (message := await receive())["type"] == "websocket.receive":
            got += len(message["text"])

    async def check() -> None:
        async with served(app) as server:
            client = await Client.connect(server)
            client.send(connect(1))
            await client.until(lambda: client.answers[1].status == 200)
            message = masked(b"x" * 100)
            sent = 0
            while sent + len(message) <= http2_stream.WINDOW:
                client.send(frame(DATA, 0, 1, message))
                sent += len(message)
            assert await client.outcome() == "open"
            assert client.updates.get(1, 0) <= http2_stream.WINDOW
            go.set()
            count = sent // len(message)
            await eventually(lambda: got == 100 * count)

    run(check())
