"""Forms with more fields or parts than anybody needs, to Quart apps."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from lane_server import LOOPS, run, served
from quart import Quart, request
from quart.formparser import FormDataParser
from werkzeug.datastructures import MultiDict

from aeros.quart.forms import bound_forms

HEAD = b"POST /form HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\nContent-Type: "
URLENCODED = HEAD + b"application/x-www-form-urlencoded\r\n\r\n"


def form_app(**config: Any) -> Quart:
    app = Quart("forms")
    app.config.update(config)

    @app.post("/form")
    async def form() -> str:
        fields = await request.form
        return f"{len(list(fields.items(multi=True)))} fields"

    return app


async def status_of(app: Any, head: bytes, body: bytes) -> str:
    async with served(app) as server:
        answer, _ = await server.exchange(head % len(body) + body, quiet=5.0)
        return answer[9:12].decode() + " " + answer.rpartition(b"\r\n\r\n")[2].decode()[:20]


@pytest.mark.parametrize(
    ("fields", "config", "expected"),
    [
        (10_000, {}, "200 10000 fields"),
        (10_001, {}, "413"),
        (1_000_000, {}, "413"),
        (20, {"MAX_FORM_PARTS": 2}, "200 20 fields"),
        (21, {"MAX_FORM_PARTS": 2}, "413"),
        (50_000, {"MAX_FORM_PARTS": None}, "200 50000 fields"),
    ],
)
def test_an_urlencoded_form_has_a_bounded_number_of_fields(fields: int, config: dict[str, Any], expected: str) -> None:
    body = b"&".join([b"a="] * fields)
    answer = run(status_of(form_app(**config), URLENCODED, body))
    assert answer.startswith(expected), answer


def test_a_body_that_is_not_parsed_as_a_form_may_be_anything() -> None:
    app = Quart("raw")

    @app.post("/form")
    async def raw() -> str:
        return f"{len(await request.get_data())} bytes"

    assert run(status_of(app, URLENCODED, b"&" * 100_000)) == "200 100000 bytes"


@pytest.mark.parametrize("loop", LOOPS)
def test_others_have_their_turn_while_a_form_of_many_parts_is_parsed(loop: str) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    turns = 0

    async def body() -> Any:
        yield part * 4000 + b"--b--\r\n"

    async def tick() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def check() -> None:
        bound_forms()
        ticking = asyncio.create_task(tick())
        parser = FormDataParser(cls=MultiDict, max_form_parts=5000)
        fields, _ = await parser.parse(body(), "multipart/form-data", None, {"boundary": "b"})  # type: ignore[arg-type]
        ticking.cancel()
        assert len(fields.getlist("a")) == 4000

    run(check(), loop)
    assert turns >= 3


def test_a_parser_of_the_apps_own_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def own(*_: Any) -> Any:
        raise AssertionError

    functions = dict(FormDataParser.parse_functions)
    monkeypatch.setattr(FormDataParser, "parse_functions", {**functions, "multipart/form-data": own})
    bound_forms()
    assert FormDataParser.parse_functions["multipart/form-data"] is own
