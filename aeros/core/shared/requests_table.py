"""The in-flight tables of a worker: which requests it is busy with, and which WebSockets, in shared memory behind its
cell's figures. Two tables of one shape, so that long-lived WebSockets take no row from a request.

A row belongs to one request. Its first word is the time the request began, 0 for a free row. A writer fills the row
while that word is 0 and sets it last; it clears it first. The time is also the sequence number: no two uses of a row
share it, and it stands at the end of the row once more. A reader that finds the same time at both ends, and still
there when it has copied the row, has a whole one. A writer killed half-way leaves a row that looks free.
"""

from __future__ import annotations

import struct

from ..record import record

ROW_BYTES = 320
ROWS = 50
TABLE_BYTES = 4 * 4096
#: One row more, for the request that began last when all others were taken: a blocked loop is often its doing.
OVERFLOW = ROWS

#: All of a row behind its first word: stage, method, path, client, request id, the time again. Longer texts are cut.
FILL = struct.Struct("=d16s160s56s64sd")
_ROW = struct.Struct("=dd16s160s56s64sd")
#: Where the request id stands in a row; it is filled in later than the rest.
REQUEST_ID_AT = 8 + 8 + 16 + 160 + 56
REQUEST_ID_BYTES = 64
METHOD_BYTES, PATH_BYTES = 16, 160
#: Words (of 8 bytes) in a row.
ROW_WORDS = ROW_BYTES // 8

#: No monotonic clock has come as far, in seconds.
_LATEST = 1e10

assert _ROW.size == 320 and (ROWS + 1) * ROW_BYTES <= TABLE_BYTES

HANDLING, READING, STREAMING, SENDING = 0.0, 1.0, 2.0, 3.0
CONNECTING, OPEN, CLOSING = 4.0, 5.0, 6.0  # of a WebSocket
STAGES = ("handling", "reading", "streaming", "sending", "connecting", "open", "closing")


@record
class Row:
    """One request or WebSocket. began: monotonic seconds. stage: one of STAGES. cut: the path was longer."""

    began: float
    stage: str
    method: str
    path: str
    cut: bool
    client: str
    request_id: str


def read_rows(table: memoryview, used: int) -> list[Row]:
    """Return the requests in a table, oldest first. used: how many rows were ever taken, the overflow one aside."""
    # Any worker can have written any bytes here, NaN and infinity among them.
    words = table.cast("d")
    rows = []
    for index in (*range(min(used, ROWS)), OVERFLOW) if used >= ROWS else range(used):
        began = words[index * ROW_WORDS]
        if not 0.0 < began < _LATEST:
            continue
        data = bytes(table[index * ROW_BYTES : (index + 1) * ROW_BYTES])
        first, stage, method, path, client, request_id, last = _ROW.unpack(data)
        if first != began or last != began or words[index * ROW_WORDS] != began:
            continue  # it ended, or began, just now
        rows.append(
            Row(
                began,
                STAGES[int(stage)] if 0.0 <= stage < len(STAGES) else STAGES[0],
                _text(method),
                _text(path),
                path[-1] != 0,
                _text(client),
                _text(request_id),
            )
        )
    rows.sort(key=lambda row: row.began)
    return rows


def clear_rows(table: memoryview, used: int) -> None:
    """Free every row. For the supervisor, when the worker is gone."""
    words = table.cast("d")
    for index in (*range(min(used, ROWS)), OVERFLOW) if used >= ROWS else range(used):
        words[index * ROW_WORDS] = 0.0


def _text(field: bytes) -> str:
    return field.rstrip(b"\0").decode("utf-8", "replace")
