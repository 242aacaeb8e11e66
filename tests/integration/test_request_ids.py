"""--request-id: taken over where well-formed, else made; seen by the app, sent back, logged."""

from __future__ import annotations

import json
import re

import pytest

from tests.conftest import Serve
from tests.helpers.http import Connection

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
    assert {(record["slot"], record["generation"]) for record in records} == {(0, 1)}


def test_without_the_option_nothing_is_added(serve: Serve) -> None:
    server = serve(APP, "-w", "1").ready()
    answer = server.get("/")
    assert answer.json()["id"] == []
    assert "x-request-id" not in answer.headers
    assert server.stop() == 0
