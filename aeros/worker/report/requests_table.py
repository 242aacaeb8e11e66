"""The worker's side of the in-flight tables: a row is taken when a request begins, and given back when it ends.

This is on the way of every request, so that it holds true also while the event loop is blocked: two stores and a few
list operations. What takes longer to find out is filled in by the heartbeat.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from time import perf_counter
from typing import Any, Protocol

from ...core.shared.requests_table import (
    FILL,
    HANDLING,
    OVERFLOW,
    PATH_BYTES,
    REQUEST_ID_AT,
    REQUEST_ID_BYTES,
    ROW_BYTES,
    ROW_WORDS,
    ROWS,
)
from ...core.shared.scoreboard import TABLE_USED, WEBSOCKETS_USED, Cell
from ...core.text import one_line

_fill = FILL.pack_into


class Request(Protocol):
    """A request or WebSocket under way, whoever serves it. row: of the table. stage: unset means handling. started: as
    perf_counter tells it, which is the monotonic clock. task: runs the handler."""

    row: int
    stage: float
    started: float
    scope: dict[str, Any]
    task: asyncio.Task[None] | None


class InFlightTable:
    """One worker's table. Only its event loop's thread may touch it."""

    __slots__ = ("_figures", "_free", "_owners", "_settled", "_table", "_used", "_words")

    def __init__(self, cell: Cell, websockets: bool = False) -> None:
        """websockets: the table is that of the WebSockets, not that of the requests."""
        self._table = cell.websocket_table if websockets else cell.table
        self._used = WEBSOCKETS_USED if websockets else TABLE_USED
        self._words = self._table.cast("d")
        self._figures = cell.words
        self._settled = 0.0  # when the youngest owner began, the last time that the rows were the oldest's
        # The row given back last is taken first, so that only as many pages are touched as requests overlap.
        self._free = list(range(ROWS - 1, -1, -1))
        self._owners: list[Request | None] = [None] * ROWS

    def begin(self, request: Request, stage: float, method: bytes, path: bytes, client: bytes) -> None:
        """Take a row. method, path (without query) and client ("host:port") are cut to what fits."""
        free = self._free
        if free:
            row = free.pop()
            self._owners[row] = request
            if row >= self._figures[self._used]:
                self._figures[self._used] = row + 1
        else:
            row = OVERFLOW
            self._words[OVERFLOW * ROW_WORDS] = 0.0
        request.row = row
        if stage:
            request.stage = stage
        began = request.started
        _fill(self._table, row * ROW_BYTES + 8, stage, method, path, client, b"", began)
        self._words[row * ROW_WORDS] = began

    def stage(self, request: Request, stage: float) -> None:
        """Say how far the request is."""
        request.stage = stage
        row = request.row
        # The request may have ended, and its row, above all the overflow row, be another's by now.
        if self._words[row * ROW_WORDS] == request.started:
            self._words[row * ROW_WORDS + 1] = stage

    def end(self, request: Request) -> None:
        """Give the row back."""
        row = request.row
        if row != OVERFLOW:
            self._words[row * ROW_WORDS] = 0.0
            self._owners[row] = None
            self._free.append(row)
        elif self._words[OVERFLOW * ROW_WORDS] == request.started:
            self._words[OVERFLOW * ROW_WORDS] = 0.0

    def complete(self, count: int, everything: Iterable[Request]) -> None:
        """Fill in what `begin` had no time for. everything: all requests under way, also those without a row; count:
        so many."""
        if count > ROWS - len(self._free):
            youngest = self._youngest()
            # Whoever comes later is younger: as long as no row was given back, there is nothing to sort by age.
            if self._free or youngest != self._settled:
                self._prefer_the_oldest(list(everything))
                self._settled = self._youngest()
        for row, owner in enumerate(self._owners):
            if owner is not None and (found := request_id_of(owner.scope)):
                at = row * ROW_BYTES + REQUEST_ID_AT
                self._table[at : at + REQUEST_ID_BYTES] = found[:REQUEST_ID_BYTES].ljust(REQUEST_ID_BYTES, b"\0")

    def _youngest(self) -> float:
        return max((owner.started for owner in self._owners if owner is not None), default=0.0)

    def _prefer_the_oldest(self, everything: list[Request]) -> None:
        """Give free rows, and those of young requests, to older ones that found none free."""
        everything.sort(key=lambda request: request.started)
        without = [request for request in everything[:ROWS] if request.row == OVERFLOW]
        young = [request for request in everything[ROWS:] if request.row != OVERFLOW]
        for old in without:
            if not self._free:
                if not young:
                    break
                other = young.pop()
                self.end(other)
                other.row = OVERFLOW
            self.end(old)  # the overflow row, if it has it
            stage = getattr(old, "stage", HANDLING)
            self.begin(old, stage, *described(old.scope))


def described(scope: dict[str, Any]) -> tuple[bytes, bytes, bytes]:
    """Return method, path and client of an ASGI scope as the table has them."""
    path = scope.get("raw_path") or scope["path"].encode()
    method = b"WS" if scope.get("type") == "websocket" else scope.get("method", "GET").encode()
    return method, path.partition(b"?")[0], client_label(scope.get("client"))


def client_label(client: Any) -> bytes:
    """Return "host:port" of a client's address, b"" where it has none."""
    if not client:
        return b""
    host, port = client[0], client[1] if len(client) > 1 else None
    return (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").encode()


def request_id_of(scope: dict[str, Any]) -> bytes:
    """Return the request's X-Request-ID header, b"" without one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" or name.lower() == b"x-request-id":
            return bytes(value)
    return b""


def describe(request: Request) -> str:
    """Return a request or WebSocket as a line in a log has it: GET /path (1.2 s, from 127.0.0.1:4000, id abc)."""
    method, path, client = (part.decode("utf-8", "replace") for part in described(request.scope))
    known = [f"{perf_counter() - request.started:.1f} s"]
    known += [f"from {client}"] if client else []
    request_id = request_id_of(request.scope).decode("utf-8", "replace")
    known += [f"id {request_id[:REQUEST_ID_BYTES]}"] if request_id else []
    text = f"{method} {path[:PATH_BYTES]}{'…' if len(path) > PATH_BYTES else ''} ({', '.join(known)})"
    return one_line(text)
