"""--request-id: taken over where well-formed, else made; seen by the app, sent back, logged."""

from __future__ import annotations

import json
import re

import pytest

from tests.conftest import Serve
from tests.helpers.http import Connection
from tests.helpers.wsclient import open_websocket

APP = """
from quart import request
from aeros import WebServer
app = WebServer(__name__)

@app.get("/")
async def home():
    return {"id": request.headers.getlist("X-Request-ID")}

@app.get("/own")
async def own():
    return {"id": request.headers.getlist("X-Request-ID")}, 200, {"X-Request-ID": "of-the-app"}

if __name__ == "__main__":
    import sys
    app.start(sys.argv[1:])
"""
MADE = re.compile("[0-9a-f]{32}")


@pytest.mark.parametrize("http", ["lane", "hypercorn"])
def test_an_id_is_taken_over_or_made_and_sent_back(serve: Serve, http: str) -> None:
    server = serve(
        APP, "-w", "1", "--http", http, "--request-id", "--log-format", "json", "--access-logfile", "-"
    ).ready()
    seen = []
    with Connection(server.address) as connection:

        def ask(path: str = "/", given: str | None = None) -> tuple[str, str]:
            answer = connection.request("GET", path, headers={} if given is None else {"X-Request-ID": given})
            (inside,) = answer.json()["id"]
            seen.append(inside)
            return inside, answer.headers["x-request-id"]

        assert ask(given="abc-123/x=") == ("abc-123/x=", "abc-123/x=")
        for wrong in (None, "", "a b", "x" * 129, 'quo"te', "ü"):
            inside, back = ask(given=wrong)
            assert MADE.fullmatch(inside), wrong
            assert inside == back
        assert len(set(seen)) == len(seen)
        assert ask("/own", "mine") == ("mine", "of-the-app")
    assert server.stop() == 0
    records = [json.loads(line) for line in server.stdout.splitlines()]
    assert [record["request_id"] for record in records] == seen
    assert {(record["worker"], record["generation"]) for record in records} == {(0, 1)}


def test_without_the_option_nothing_is_added(serve: Serve) -> None:
    server = serve(APP, "-w", "1").ready()
    answer = server.get("/")
    assert answer.json()["id"] == []
    assert "x-request-id" not in answer.headers
    assert server.stop() == 0


SEEN_FROM_WITHIN = """
import asyncio
import logging
import sys
import aeros
from aeros.misc import sync_to_async
from quart import websocket

app = aeros.WebServer(__name__)
handler = logging.StreamHandler(sys.stdout)
handler.setFormatter(aeros.JSONFormatter())
logging.basicConfig(handlers=[handler], level="INFO")
log = logging.getLogger("shop")

@app.get("/")
async def home():
    log.info("asked %s", "politely")
    task = asyncio.create_task(asyncio.sleep(0, aeros.request_id()))
    return {"ids": [aeros.request_id(), await sync_to_async(aeros.request_id)(), await task]}

@app.get("/plain")
def plain():
    return {"ids": [aeros.request_id()]}

@app.get("/fails")
async def fails():
    raise RuntimeError("on purpose")

@app.websocket("/ws")
async def ws():
    log.info("opened")
    await websocket.send(f"{aeros.request_id()} {websocket.headers['X-Request-ID']}")

@app.before_serving
async def before():
    log.info("starting, id %r", aeros.request_id())

if __name__ == "__main__":
    app.start(sys.argv[1:])
"""


@pytest.mark.parametrize("http", ["lane", "hypercorn"])
def test_the_app_and_its_log_know_it(serve: Serve, http: str) -> None:
    server = serve(SEEN_FROM_WITHIN, "-w", "1", "--http", http, "--request-id").ready()
    server.expect("on purpose", "Traceback", "Exception on request")
    with Connection(server.address) as connection:

        def ask(path: str, given: str) -> object:
            answer = connection.request("GET", path, headers={"X-Request-ID": given})
            return answer.json()["ids"] if answer.status == 200 else answer.status

        assert ask("/", "one") == ["one"] * 3
        assert ask("/plain", "two") == ["two"]
        assert ask("/fails", "three") == 500
        assert ask("/", "four") == ["four"] * 3
    with open_websocket(server.address, headers={"X-Request-ID": "five"}) as socket:
        assert socket.recv(timeout=10) == "five five"
    assert server.stop() == 0
    records = [json.loads(line) for line in server.stdout.splitlines()]
    assert [(record["message"], record.get("request_id")) for record in records if record["logger"] == "shop"] == [
        ("starting, id ''", None),
        ("asked politely", "one"),
        ("asked politely", "four"),
        ("opened", "five"),
    ]
    failed = next(record for record in records if record["level"] == "error")
    assert failed["request_id"] == "three"
    assert failed["exception"].endswith("RuntimeError: on purpose")
    assert {(record["worker"], record["generation"]) for record in records} == {(0, 1)}


PLAIN_APP = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    raise RuntimeError("on purpose")
"""


def test_the_servers_own_log_has_it_where_an_app_failed(serve: Serve) -> None:
    server = serve(PLAIN_APP)
    server.wait_exit()
    argv = [
        server.argv[0],
        "-m",
        "aeros",
        "run",
        "app:app",
        "-b",
        "127.0.0.1:0",
        "--request-id",
        "--log-format",
        "json",
    ]
    server = serve(argv=argv).ready()
    server.expect("on purpose", "Error in ASGI", "raised in its lifespan")
    with Connection(server.address) as connection:
        assert connection.request("GET", "/", headers={"X-Request-ID": "abc"}).status == 500
    assert server.stop() == 0
    failed = next(record for line in server.log.splitlines() if (record := json.loads(line))["level"] == "error")
    assert failed["request_id"] == "abc"
    assert "RuntimeError: on purpose" in failed["exception"]
