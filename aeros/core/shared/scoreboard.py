"""The scoreboard: two shared anonymous files that say how the server and every worker are doing.

The board has a header page and a summary area (JSON about the server). Only the supervisor can write it: all others
have a descriptor that reads, and the file is sealed against writers to come.

The cells are one file that every zygote and worker can write: per cell a page of figures, and four each of its
in-flight tables (see inflight): requests, and WebSockets. A cell belongs to one worker process at a time, which alone
is to write it; the supervisor only clears it between two workers. So nothing needs a lock, and a writer killed in the
middle of a write leaves at worst one stale 8-byte number. Each number is aligned, so it is stored and loaded whole.
A worker that does not keep to its cell can falsify the figures that others show, and nothing else: no process decides
by what it reads in a cell who lives, no worker counts on what it wrote there, and readers take any bytes.

Readers map both read-only: anyone in the family by inheritance, other processes through the control socket.
A stuck worker, a busy one, or a dead supervisor cannot hold a reader up.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import time
from typing import Any

from ..record import record
from .anonymous import published_file, read_only_copy, shared_file
from .requests_table import TABLE_BYTES, Row, clear_rows, read_rows

_MAGIC = 0x4145524F53_0006  # "AEROS", layout 6
_PAGE = 4096
_SUMMARY_OFFSET = _PAGE
_SUMMARY_BYTES = 63 * _PAGE
_BOARD_BYTES = _SUMMARY_OFFSET + _SUMMARY_BYTES
_FIGURES_BYTES = _PAGE
_CELL_BYTES = _FIGURES_BYTES + 2 * TABLE_BYTES

# Header words.
_H_MAGIC, _H_CELLS, _H_SEQUENCE, _H_LENGTH, _H_ROSTER_VERSION, _H_ROSTER_LENGTH = range(6)
_H_ROSTER = 16
# At the end of the page, per listener: connections that wait to be accepted plus one (0: not known), and how many may.
MAX_QUEUES = 32
_H_QUEUES = _PAGE // 8 - 2 * MAX_QUEUES
_ROSTER_MOST = _H_QUEUES - _H_ROSTER

# Words of a cell. Times are monotonic nanoseconds, sizes bytes, the rest counts.
PID, GENERATION, STARTED, HEARTBEAT, LAG, LAG_MAX = range(6)
CONNECTIONS, IN_FLIGHT, WEBSOCKETS = range(6, 9)
CONNECTIONS_TOTAL, WEBSOCKETS_TOTAL, REQUESTS = range(9, 12)
RESPONSES = 12  # …17: 1xx, 2xx, 3xx, 4xx, 5xx, no response
BYTES_IN, BYTES_OUT, SECONDS_SUM = range(18, 21)
#: Accepted, but not yet in CONNECTIONS: the event loop (or a TLS handshake) is still setting them up.
PENDING = 21
#: Share of the time since the heartbeat before the last in which the event loop had something to do, in millionths.
LOOP_BUSY = 22
#: How many rows of the in-flight table were ever taken: what lies behind them has no memory, and is left alone.
TABLE_USED = 23
#: The same of the table of WebSockets.
WEBSOCKETS_USED = 24
#: TLS handshakes that a client began and that failed.
HANDSHAKES_FAILED = 25
#: Failures inside HTTP/3: each ended a connection, or the service of a socket for a moment.
HTTP3_FAILURES = 26
HISTOGRAM = 32
#: The most that a figure can say; 146 years in nanoseconds. A sum of two still fits into what messages can carry.
MOST = 2**62

RESPONSE_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx", "none")
#: Latency buckets: two bits below the leading one of the time in microseconds, so each is at most 25 % wide.
HISTOGRAM_BUCKETS = 160

#: How often a worker's loop proves itself. Also how fine its lag is sampled.
HEARTBEAT_EVERY_S = 0.5

#: How many workers, old and new together, one server can have at a time. Pages that are never used cost nothing.
MAX_CELLS = 1024
#: So many workers leave room for a reload, which needs two cells per slot, and for old ones that still drain.
MAX_WORKERS = 400


def heartbeat_every_s(loop_warn_s: float) -> float:
    """Return how often a loop proves itself where standing still for `loop_warn_s` is worth a warning; 0: it is not."""
    return min(HEARTBEAT_EVERY_S, max(0.02, loop_warn_s / 2)) if loop_warn_s else HEARTBEAT_EVERY_S


def bucket_of(microseconds: int) -> int:
    """Return the latency bucket of a time; times of 2^39 us (six days) and more share the last."""
    bits = microseconds.bit_length()
    if bits < 3:
        return microseconds
    return min(HISTOGRAM_BUCKETS - 1, (bits - 2) * 4 + ((microseconds >> (bits - 3)) & 3))


def bucket_limit(bucket: int) -> int:
    """Return the first time in microseconds that lies above `bucket`."""
    if bucket < 4:
        return bucket + 1
    octave, quarter = divmod(bucket, 4)
    return (4 + quarter + 1) << (octave - 1)


@record
class CellFigures:
    """One reading of a cell. Times in seconds of the monotonic clock, sizes in bytes. loop_busy: 0 to 1."""

    pid: int
    generation: int
    started: float
    heartbeat: float
    lag_s: float
    lag_max_s: float
    loop_busy: float
    connections: int
    in_flight: int
    websockets: int
    connections_total: int
    websockets_total: int
    handshakes_failed: int
    http3_failures: int
    requests: int
    responses: tuple[int, ...]
    bytes_in: int
    bytes_out: int
    seconds_sum: float
    histogram: tuple[int, ...]


class Cell:
    """The pages of one worker. `words` is what its owner counts in: `cell.words[REQUESTS] += 1`."""

    def __init__(self, view: memoryview) -> None:
        self.words = view[:_FIGURES_BYTES].cast("Q")
        self.table = view[_FIGURES_BYTES : _FIGURES_BYTES + TABLE_BYTES]
        self.websocket_table = view[_FIGURES_BYTES + TABLE_BYTES :]

    def begin(self, pid: int, generation: int, now_ns: int) -> None:
        """Called by the worker as it starts: who it is, and its first heartbeat."""
        self.words[GENERATION] = generation
        self.words[STARTED] = now_ns
        self.words[HEARTBEAT] = now_ns
        self.words[PID] = pid

    def clear(self) -> None:
        """Called by the supervisor before the cell is given to a new worker."""
        clear_rows(self.table, self.words[TABLE_USED])
        clear_rows(self.websocket_table, self.words[WEBSOCKETS_USED])
        self.words[:] = memoryview(bytes(_FIGURES_BYTES)).cast("Q")

    def read_requests(self) -> list[Row]:
        """Return the requests the worker is busy with, as many as its table holds, oldest first."""
        return read_rows(self.table, self.words[TABLE_USED])

    def read_websockets(self) -> list[Row]:
        """Return the worker's WebSockets, as many as its table holds, oldest first."""
        return read_rows(self.websocket_table, self.words[WEBSOCKETS_USED])

    def read(self) -> CellFigures:
        """Return the figures as they are now, none beyond what can be: others may have written into the cell."""
        words = self.words[: HISTOGRAM + HISTOGRAM_BUCKETS].tolist()
        if max(words) > MOST:
            words = [min(word, MOST) for word in words]
        return CellFigures(
            pid=words[PID],
            generation=words[GENERATION],
            started=words[STARTED] / 1e9,
            heartbeat=words[HEARTBEAT] / 1e9,
            lag_s=words[LAG] / 1e9,
            lag_max_s=words[LAG_MAX] / 1e9,
            loop_busy=min(1.0, words[LOOP_BUSY] / 1e6),
            connections=words[CONNECTIONS],
            in_flight=words[IN_FLIGHT],
            websockets=words[WEBSOCKETS],
            connections_total=words[CONNECTIONS_TOTAL],
            websockets_total=words[WEBSOCKETS_TOTAL],
            handshakes_failed=words[HANDSHAKES_FAILED],
            http3_failures=words[HTTP3_FAILURES],
            requests=words[REQUESTS],
            responses=tuple(words[RESPONSES : RESPONSES + len(RESPONSE_CLASSES)]),
            bytes_in=words[BYTES_IN],
            bytes_out=words[BYTES_OUT],
            seconds_sum=words[SECONDS_SUM] / 1e9,
            histogram=tuple(words[HISTOGRAM:]),
        )


class Scoreboard:
    """Both mappings and their descriptors. Created by the supervisor; opened by descriptor everywhere else."""

    def __init__(self, fd: int, cells_fd: int, *, writable: bool) -> None:
        """Take ownership of the descriptors of board and cells. writable: whether the cells can be written.

        Raises ValueError when they are not a scoreboard of this layout; then they stay the caller's.
        """
        if os.fstat(fd).st_size != _BOARD_BYTES:
            raise ValueError("not a scoreboard of this version of Aeros")
        self._open(mmap.mmap(fd, _BOARD_BYTES, access=mmap.ACCESS_READ), fd, cells_fd, writable)

    def _open(self, board: mmap.mmap, fd: int, cells_fd: int, writable: bool) -> None:
        header = memoryview(board).cast("Q")
        self.cells = int(header[_H_CELLS])
        size = self.cells * _CELL_BYTES
        if header[_H_MAGIC] != _MAGIC or os.fstat(cells_fd).st_size != size:
            raise ValueError("not a scoreboard of this version of Aeros")
        self.fd, self.cells_fd = fd, cells_fd
        self._map_board(board)
        self._cells_map = mmap.mmap(cells_fd, size, access=mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ)
        self._cells = memoryview(self._cells_map)

    def _map_board(self, board: mmap.mmap) -> None:
        self._board_map = board
        self._board = memoryview(board)
        self._header = self._board[:_PAGE].cast("Q")

    @classmethod
    def create(cls, cells: int = MAX_CELLS) -> Scoreboard:
        """Return a new one, which this process can write. Its pages take memory only once they are written."""
        board, fd = published_file("aeros-scoreboard", _BOARD_BYTES)
        try:
            cells_fd = shared_file("aeros-cells", cells * _CELL_BYTES)
        except OSError:
            os.close(fd)
            raise
        board[:16] = _MAGIC.to_bytes(8, "little") + cells.to_bytes(8, "little")
        new = cls.__new__(cls)
        new._open(board, fd, cells_fd, True)
        return new

    def give_up_board(self) -> None:
        """In a child of the process that created it: only read the board from now on."""
        self._release_board()
        self._map_board(mmap.mmap(self.fd, _BOARD_BYTES, access=mmap.ACCESS_READ))

    def _release_board(self) -> None:
        self._header.release()
        self._board.release()
        self._board_map.close()

    def cell(self, index: int) -> Cell:
        """Return cell `index` (0-based)."""
        start = index * _CELL_BYTES
        return Cell(self._cells[start : start + _CELL_BYTES])

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Publish what the server says of itself. Supervisor only. Odd sequence numbers mean: being written."""
        data = _as_json(summary)
        # Reasons and tracebacks are as long as apps make them: better cut than a supervisor that cannot go on.
        for most in (16384, 1024, 128, 16):
            if len(data) <= _SUMMARY_BYTES:
                break
            data = _as_json(_with_short_texts(summary, most))
        if len(data) > _SUMMARY_BYTES:
            raise ValueError(f"the summary is {len(data)} bytes long; {_SUMMARY_BYTES} is the most")
        self._header[_H_SEQUENCE] += 1
        self._board[_SUMMARY_OFFSET : _SUMMARY_OFFSET + len(data)] = data
        self._header[_H_LENGTH] = len(data)
        self._header[_H_SEQUENCE] += 1

    def read_summary(self) -> dict[str, Any]:
        """Return what the server last said of itself; {} before the first time.

        Raises RuntimeError if no whole summary appears within a second (its writer died half-way).
        """
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline:
            before = self._header[_H_SEQUENCE]
            if before % 2 == 0:
                length = min(self._header[_H_LENGTH], _SUMMARY_BYTES)
                data = bytes(self._board[_SUMMARY_OFFSET : _SUMMARY_OFFSET + length])
                if self._header[_H_SEQUENCE] == before:
                    summary: dict[str, Any] = json.loads(data) if data else {}
                    return summary
            time.sleep(0.0005)
        raise RuntimeError("the supervisor ended in the middle of writing its summary")

    def write_roster(self, cells: list[int]) -> None:
        """Publish the cells of the workers that accept connections. Supervisor only."""
        cells = cells[:_ROSTER_MOST]
        if cells == self.read_roster():
            return
        for index, cell in enumerate(cells):
            self._header[_H_ROSTER + index] = cell
        self._header[_H_ROSTER_LENGTH] = len(cells)
        self._header[_H_ROSTER_VERSION] += 1

    @property
    def roster_version(self) -> int:
        """Return a number that changes with the roster."""
        return self._header[_H_ROSTER_VERSION]

    def read_roster(self) -> list[int]:
        """Return the cells of the workers that accept connections. May be a moment old."""
        length = min(self._header[_H_ROSTER_LENGTH], _ROSTER_MOST)
        return self._header[_H_ROSTER : _H_ROSTER + length].tolist()

    def write_queue(self, listener: int, length: int | None, limit: int) -> None:
        """Publish how many connections wait at a listener (by its position), None: not known. Supervisor only."""
        if listener < MAX_QUEUES:
            at = _H_QUEUES + 2 * listener
            self._header[at] = 0 if length is None else length + 1
            self._header[at + 1] = limit

    def read_queue(self, listener: int) -> tuple[int, int] | None:
        """Return how many connections waited at a listener a moment ago, and how many may; None: not known."""
        if listener >= MAX_QUEUES:
            return None
        at = _H_QUEUES + 2 * listener
        length = self._header[at]
        return (length - 1, self._header[at + 1]) if length else None

    def read_only_fds(self) -> list[int]:
        """Return new descriptors of board and cells that can write neither, for others; the caller closes them."""
        board = os.dup(self.fd)
        try:
            return [board, read_only_copy(self.cells_fd)]
        except OSError:
            os.close(board)
            raise

    def close(self) -> None:
        """Give up the mappings. Cells handed out keep theirs until they are gone."""
        self._release_board()
        self._cells.release()
        with contextlib.suppress(BufferError):
            self._cells_map.close()
        os.close(self.fd)
        os.close(self.cells_fd)


def _as_json(summary: dict[str, Any]) -> bytes:
    # As json.loads reads bytes: text that is no Unicode comes from paths and arguments.
    return json.dumps(summary, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def _with_short_texts(value: Any, most: int) -> Any:
    """Return `value` with every text in it cut to `most` characters, its end kept: that is where tracebacks say why."""
    if isinstance(value, str):
        return value if len(value) <= most else "…" + value[-most:]
    if isinstance(value, dict):
        return {key: _with_short_texts(item, most) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_short_texts(item, most) for item in value]
    return value
