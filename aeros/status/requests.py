"""The requests that workers are busy with at the moment, and their WebSockets, as frozen records."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..core.record import as_dict, record
from ..core.shared.requests_table import Row
from ..core.shared.scoreboard import CellFigures

#: So many of a worker are in its status: its oldest requests, and where they are fewer, its oldest WebSockets.
#: `server.requests()` has all that are known.
IN_STATUS = 8


@record
class RequestInFlight:
    """One request that a worker has begun and not finished, or one of its WebSockets.

    slot, pid, generation: of the worker. method: "WS" for a WebSocket. path: without the query; at most 160 bytes of
    it, path_cut says whether there was more. age_s: since its first byte was read. stage: reading (its body is still
    coming in), handling, streaming (the response goes out as the app makes it), sending (the whole response waits for
    the client to take it); of a WebSocket: connecting (the app has not answered the handshake), open, closing. client:
    "host:port", "" for a Unix socket. request_id: its X-Request-ID, at most 64 bytes, "" without one; of a request
    younger than half a second it may not be known yet. websocket: whether it is one, and no request: not counted in
    `in_flight`, and never slow.
    """

    slot: int
    pid: int
    generation: int
    method: str
    path: str
    path_cut: bool
    age_s: float
    stage: str
    client: str
    request_id: str
    websocket: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the same as plain strings, numbers and booleans."""
        return as_dict(self)

    def __str__(self) -> str:
        path = self.path + ("…" if self.path_cut else "")
        known = [f"{self.age_s:.1f} s", self.stage]
        known += [f"from {self.client}"] if self.client else []
        known += [f"id {self.request_id}"] if self.request_id else []
        return f"{self.method} {path} ({', '.join(known)})"


def in_order(found: Iterable[RequestInFlight]) -> list[RequestInFlight]:
    """Return requests, oldest first, then WebSockets: the oldest of those are as a rule none that need a look."""
    return sorted(found, key=lambda one: (one.websocket, -one.age_s))


def in_flight(
    record: dict[str, Any],
    figures: CellFigures,
    requests: list[Row],
    websockets: list[Row],
    now: float,
) -> tuple[RequestInFlight, ...]:
    """Return what one worker is busy with, in order. record: its entry in the summary. now: monotonic seconds."""
    if figures.pid != record["pid"]:
        return ()  # the cell is another's by now, or not yet its own
    return tuple(
        RequestInFlight(
            slot=record["slot"],
            pid=record["pid"],
            generation=record["generation"],
            method=row.method,
            path=row.path,
            path_cut=row.cut,
            age_s=round(max(0.0, now - row.began), 3),
            stage=row.stage,
            client=row.client,
            request_id=row.request_id,
            websocket=is_websocket,
        )
        for rows, is_websocket in ((requests, False), (websockets, True))
        for row in rows
    )
