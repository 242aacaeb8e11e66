"""What the dashboard says of routes, exceptions and health."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from quart import Quart, Response

from aeros.core.ipc.dashboard import AdminSettings
from aeros.core.ipc.messages import Routes
from aeros.core.text import json_text
from aeros.dashboard.details import add_details
from aeros.dashboard.health import health
from aeros.dashboard.route_rates import RouteRates
from aeros.supervisor.state.route_book import MOST_ERRORS, RouteBook
from aeros.supervisor.state.route_book import MOST_ROUTES as MOST_KEPT
from aeros.worker.report.route_figures import MOST_ROUTES, OTHERS, RouteFigures, without_secrets


def failure(text: str) -> Exception:
    try:
        raise LookupError(text)
    except LookupError as error:
        return error


def test_a_workers_figures_add_up_in_the_book_and_on_the_page() -> None:
    figures, book, rates = RouteFigures(), RouteBook(), RouteRates()
    rates.take(book.answer())
    for status in (200, 404, 500):
        figures.count("GET", "/item/<n>", status, 0.010)
    figures.count("BREW", None, 404, 0.001)
    figures.note(failure("token=abc"), "GET", "/item/<n>")
    figures.note(failure("token=abd"), "GET", "/item/<n>")
    book.hear(figures.take(), 3)
    assert figures.take() == Routes([], [])
    rates.take(book.answer())
    item, none = rates.table()["rows"]
    assert (item["method"], item["route"], item["requests"], item["4xx"], item["5xx"]) == ("GET", "/item/<n>", 3, 1, 1)
    assert item["p50"] == pytest.approx(0.010, rel=0.5)
    assert (none["method"], none["route"], none["4xx"]) == ("", "", 1), "the client's own word for a method is nowhere"
    (error,) = rates.errors
    assert (error["what"], error["text"], error["count"], error["slot"]) == ("LookupError", "token=…", 2, 3)
    assert "in failure" in error["traceback"]


def test_there_is_a_bound_for_routes_and_exceptions() -> None:
    figures, book = RouteFigures(), RouteBook()
    for number in range(MOST_ROUTES + 50):
        figures.count("GET", f"/{number}", 200, 0.001)
        figures.note(failure("x" * 10_000), "GET", f"/{number}")
    told = figures.take()
    assert len(told.routes) == MOST_ROUTES + 1
    assert sum(row["requests"] for row in told.routes if row["route"] == OTHERS) == 50
    for _ in range(MOST_ERRORS):
        book.hear(told, 0)
    book.hear(Routes([row | {"route": f"/more{row['route']}"} for row in told.routes], []), 0)
    answer = book.answer()
    assert len(answer["routes"]) <= MOST_KEPT + 1
    assert len(answer["errors"]) == MOST_ERRORS
    assert all(len(error["text"]) <= 400 for error in answer["errors"])


@pytest.mark.parametrize(
    "lie",
    [
        {},
        {"route": 7, "method": ["x"], "requests": -5, "bad": "many", "seconds": "long", "buckets": [1]},
        {"route": "/a\n\x1b[31m", "requests": 1, "buckets": {"9999": 1, "-1": 2, "1": -3, "x": 1}},
    ],
)
def test_a_lying_worker_makes_no_nonsense_of_the_book(lie: dict[str, Any]) -> None:
    book = RouteBook()
    book.hear(Routes([lie], [lie]), 0)
    (row,) = book.answer()["routes"]
    assert row["route"].isprintable()
    assert row["requests"] in (0, 1)
    assert row["bad"] == row["seconds"] == 0
    assert sum(row["buckets"].values()) == 0
    RouteRates().take(book.answer())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abc.def, x", "Authorization: …, x"),
        ("cannot reach postgres://shop:s3cret@db/x", "cannot reach postgres://shop:…@db/x"),
        ("{'password': 'hunter2', 'user': 'me'}", "{'password': …', 'user': 'me'}"),
        ("no token was given", "no token was given"),
    ],
)
def test_what_looks_like_a_secret_is_left_out(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


def test_details_that_are_off_are_kept_back() -> None:
    site = Quart("site")
    settings = AdminSettings("app", "127.0.0.1", "", False, 1, "", "", details=False)
    add_details(site, cast(Any, None), settings, lambda record, code: Response(json_text(record), code))
    for path in ("/log.json", "/stack.json?slot=0"):
        answer = asyncio.run(site.test_client().get(path))
        assert answer.status_code == 403
        assert "--admin-details off" in asyncio.run(answer.get_data(as_text=True))


def status(worker: dict[str, Any] | None = None, slot: dict[str, Any] | None = None, state: str = "ready") -> Any:
    one = {"slot": 1, "pid": 17, "state": "ready", "heartbeat_age_s": 0.1} | (worker or {})
    place = {"slot": 1, "state": "filled", "restarts": 0} | (slot or {})
    return cast(Any, SimpleNamespace(state=state, workers=[SimpleNamespace(**one)], slots=[SimpleNamespace(**place)]))


@pytest.mark.parametrize(
    ("now", "minute", "word", "tone", "why"),
    [
        (status(), {}, "ready", "good", ""),
        (
            status(worker={"heartbeat_age_s": 9.0}),
            {},
            "stuck",
            "bad",
            "slot 1 (pid 17) has not run its event loop for 9 s",
        ),
        (
            status(slot={"state": "backoff", "restarts": 4}),
            {"restarts": 2},
            "crash loop",
            "bad",
            "lost its worker 4 times",
        ),
        (status(slot={"state": "failed"}, state="degraded"), {}, "crash loop", "bad", "given up"),
        (status(), {"restarts": 1}, "restarted", "warn", "1 worker died in the last minute"),
        (status(), {"answers": 50, "5xx": 10}, "errors", "bad", "20%"),
        (status(), {"answers": 5000, "5xx": 10}, "ready", "good", ""),
        (status(state="reloading"), {}, "reloading", "warn", ""),
    ],
)
def test_the_header_is_green_only_where_nothing_needs_a_look(
    now: Any, minute: dict[str, int], word: str, tone: str, why: str
) -> None:
    found = health(now, minute)
    assert (found["word"], found["tone"]) == (word, tone)
    assert why in " ".join(found["why"])
