"""The in-flight table between two processes: no torn row, no trace of a writer killed half-way."""

from __future__ import annotations

import os
import signal
import time
from types import SimpleNamespace
from typing import Any

import pytest

from aeros.core.shared.requests_table import ROWS
from aeros.core.shared.scoreboard import REQUESTS, Scoreboard
from aeros.worker.report.requests_table import InFlightTable

HANDLING, STREAMING, OPEN = 0.0, 2.0, 5.0


def request(path: str = "/", client: tuple[str, int] | None = ("127.0.0.1", 1), **headers: str) -> Any:
    return SimpleNamespace(
        started=time.perf_counter(),
        task=None,
        scope={
            "method": "GET",
            "raw_path": path.encode(),
            "client": client,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        },
    )


def test_a_row_says_what_the_request_is() -> None:
    cell = Scoreboard.create(1).cell(0)
    table = InFlightTable(cell)
    assert cell.read_requests() == []
    one = request(**{"X-Request-ID": "abc"})
    table.begin(one, HANDLING, b"GET", b"/a", b"127.0.0.1:5")
    (row,) = cell.read_requests()
    assert (row.method, row.path, row.cut, row.client, row.stage) == ("GET", "/a", False, "127.0.0.1:5", "handling")
    assert row.began == one.started
    table.stage(one, STREAMING)
    table.complete(1, [one])
    (row,) = cell.read_requests()
    assert (row.stage, row.request_id) == ("streaming", "abc")
    table.end(one)
    assert cell.read_requests() == []
    table.stage(one, STREAMING)
    two = request()
    table.begin(two, HANDLING, b"GET", b"/b", b"")
    table.stage(one, STREAMING)
    assert [(row.path, row.stage) for row in cell.read_requests()] == [("/b", "handling")], "a late word of one"


def test_what_is_too_long_is_cut_and_says_so() -> None:
    cell = Scoreboard.create(1).cell(0)
    table = InFlightTable(cell)
    for length in (159, 160, 5000):
        table.begin(request(), HANDLING, b"GET", b"/" * length, b"c" * 500)
    assert [(len(row.path), row.cut) for row in cell.read_requests()] == [(159, False), (160, True), (160, True)]


def test_of_too_many_the_oldest_and_the_newest_are_shown() -> None:
    cell = Scoreboard.create(1).cell(0)
    table = InFlightTable(cell)
    everything = []
    for number in range(ROWS + 10):
        everything.append(request(f"/{number}"))
        table.begin(everything[-1], HANDLING, b"GET", b"/%d" % number, b"")
    shown = [int(row.path[1:]) for row in cell.read_requests()]
    assert shown == [*range(ROWS), ROWS + 9]
    for gone in everything[:5]:
        table.end(gone)
    for number in range(100, 105):  # five younger ones come in their places
        everything.append(request(f"/{number}"))
        table.begin(everything[-1], HANDLING, b"GET", b"/%d" % number, b"")
    table.complete(len(everything) - 5, everything[5:])
    shown = [int(row.path[1:]) for row in cell.read_requests()]
    assert shown[:ROWS] == list(range(5, ROWS + 5)), "the oldest have the rows"
    for gone in everything[5:55]:
        table.end(gone)
    table.complete(len(everything) - 55, everything[55:])
    shown = [int(row.path[1:]) for row in cell.read_requests()]
    assert shown == [*range(55, ROWS + 10), *range(100, 105)], "who found no row free gets one that is"
    for gone in everything[55:]:
        table.end(gone)
    assert cell.read_requests() == []
    again = [request() for _ in range(ROWS)]
    for one in again:
        table.begin(one, HANDLING, b"GET", b"/again", b"")
    assert len({one.row for one in again}) == ROWS, "no row was lost or given back twice"


def test_websockets_have_a_table_of_their_own() -> None:
    cell = Scoreboard.create(1).cell(0)
    table, websockets = InFlightTable(cell), InFlightTable(cell, websockets=True)
    everything = [request(f"/{number}") for number in range(ROWS + 20)]
    for one in everything:
        websockets.begin(one, OPEN, b"WS", one.scope["raw_path"], b"")
    table.begin(request(), HANDLING, b"GET", b"/", b"")
    assert [row.path for row in cell.read_requests()] == ["/"], "however many WebSockets there are"
    shown = [int(row.path[1:]) for row in cell.read_websockets()]
    assert shown == [*range(ROWS), ROWS + 19]
    assert {row.stage for row in cell.read_websockets()} == {"open"}
    websockets.complete(len(everything), everything)
    for gone in everything[10:15]:
        websockets.end(gone)
    left = [*everything[:10], *everything[15:]]
    websockets.complete(len(left), left)
    shown = [int(row.path[1:]) for row in cell.read_websockets()]
    assert shown[:ROWS] == [*range(10), *range(15, ROWS + 5)], "the oldest have the rows that were given back"
    websockets.complete(len(left), iter(()))  # nothing changed: nobody has to be looked at
    for gone in left:
        websockets.end(gone)
    assert cell.read_websockets() == []
    websockets.begin(request(), OPEN, b"WS", b"/last", b"")
    cell.clear()
    assert cell.read_websockets() == cell.read_requests() == []


@pytest.mark.parametrize("rounds", [20])
def test_rows_are_whole_while_written_and_after_the_writer_is_killed(rounds: int) -> None:
    """Every path names its own client, so that a row put together from two would show."""
    board = Scoreboard.create(1)
    cell = board.cell(0)
    seen = 0
    for _ in range(rounds):
        pid = os.fork()
        if not pid:
            _write_for_ever(InFlightTable(cell), cell)
        try:
            deadline = time.monotonic() + 0.1
            while time.monotonic() < deadline or not cell.words[REQUESTS]:
                seen += _look(cell)
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        _look(cell)
        cell.clear()
        assert cell.read_requests() == []
    assert seen > 100


def _look(cell: Any) -> int:
    rows = cell.read_requests()
    for row in rows:
        number = row.path.rpartition("/")[2]
        assert row.path == "/x" * (int(number) % 50) + f"/{number}"
        assert row.client == f"client{number}"
    return len(rows)


def _write_for_ever(table: InFlightTable, cell: Any) -> None:
    try:
        number, under_way = 0, []
        while True:
            number += 1
            one = request()
            path = b"/x" * (number % 50) + b"/%d" % number
            table.begin(one, HANDLING, b"GET", path, b"client%d" % number)
            cell.words[REQUESTS] += 1
            under_way.append(one)
            if len(under_way) > 3:
                table.end(under_way.pop(number % 3))
    finally:
        os._exit(1)
