"""Aeros's own log: one line per event, each written whole with a single write.

The app's logging is never touched. Supervisor, zygotes and workers each have one `LineLog`; all of them append
to the same file or stream, and one os.write per line is what keeps the lines of N processes whole.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from ..clock import iso_time, monotonic
from ..process.files import open_log
from ..process.privileges import Account
from ..process.streams import is_ours
from ..text import continuation, json_text, one_line
from .sink import Sink
from .storms import Storms

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_COLOURS = {
    "debug": "\x1b[2m",
    "info": "\x1b[32m",
    "warning": "\x1b[33m",
    "error": "\x1b[31m",
    "critical": "\x1b[1;31m",
}
_RESET = "\x1b[0m"

#: What a field is called in JSON.
_KEYS = {"traceback": "exception"}

LogFormat = Literal["text", "json"]


def lost_lines(count: int, kind: str) -> str:
    """Return how many lines of a log were lost, in words."""
    return f"{count} {kind} line{'s were' if count != 1 else ' was'} lost"


def worker_name(slot: int, generation: int, pid: int | None) -> str:
    """Return the one way a worker is written in text: worker slot=2 gen=5 pid=4711."""
    return f"worker slot={slot} gen={generation}" + (f" pid={pid}" if pid else "")


def ended_with(name: str, left: str) -> str:
    """Return the line about processes that a worker has left and that are ended with it. left: their names and pids."""
    return (
        f"{name} has started what outlives it, and is ended with it: {left}. What is to go on needs a session of its "
        "own (start_new_session=True)"
    )


class LineLog:
    """Writes lines to `target`: "-" for standard error, "" for nowhere, else a path that is appended to."""

    def __init__(
        self,
        target: str = "-",
        *,
        level: str = "info",
        log_format: LogFormat = "text",
        who: str = "aeros",
        account: Account | None = None,
    ) -> None:
        """account: whom the app runs as; the file is that user's. Raises OSError when it cannot be opened."""
        self.target = target
        self._account = account
        self.threshold = LEVELS[level]
        self.log_format = log_format
        self.who = who
        #: What a JSON line has of the process: worker, generation.
        self.facts: dict[str, Any] = {}
        self._fd = 2
        self._sink: Sink | None = None
        self._storms = Storms()
        self._colour = False
        #: Gets each event as well, as it is written. What it raises is the caller's.
        self.tap: Callable[[str], None] | None = None
        self._open: Callable[[str, Account | None], int] = open_log
        self._write: Callable[[int, bytes], int] = os.write
        self.reopen()

    def reopen(self, kept: Sequence[str] = ()) -> None:
        """Open the file by its name again, after a rotation, or look anew at what standard error is. Keeps the old
        one if that fails (and raises), or its absolute path is among those to be kept."""
        if self.target not in ("-", "") and os.path.abspath(self.target) in kept:  # noqa: PTH100
            return
        if self.target in ("-", ""):
            fd = 2 if self.target and is_ours(2) else -1
            self._colour = self.log_format == "text" and _is_terminal(2)
        else:
            fd = self._open(self.target, self._account)
        lost = 0
        if self._sink is not None:
            self._sink.close()
            lost = self._sink.lost
        if self._fd > 2:
            os.close(self._fd)
        self._fd = fd
        self._sink = Sink(fd, self._write) if fd >= 0 else None
        if self._sink is not None:
            self._sink.lost = lost

    def through(self, opening: Callable[[str, Account | None], int], writing: Callable[[int, bytes], int]) -> None:
        """Open and write files through these from now on. opening: see `open_log`. writing: see os.write."""
        self._open, self._write = opening, writing
        if self._sink is not None:
            self._sink.writing = writing

    def close(self) -> None:
        """Let go of the file; nothing is written any more."""
        if self._sink is not None:
            self._sink.close()
            self._sink = None
        if self._fd > 2:
            os.close(self._fd)
        self._fd = -1

    def flush(self) -> None:
        """Write what waited for a reader, and say what was lost or only counted. To be called now and then."""
        for level, text in self._storms.summaries(monotonic()):
            self._put(level, text, {})
        sink = self._sink
        if sink is not None and (sink.waiting or sink.lost) and sink.flush() and sink.lost:
            lost, sink.lost = sink.lost, 0
            self._put("warning", f"{lost_lines(lost, 'log')}: nobody read them, or there was no room", {"lost": lost})
            if sink.lost:
                sink.lost = lost  # there is no room yet, and this one does not count

    def debug(self, text: str, **fields: Any) -> None:
        self.write("debug", text, fields)

    def info(self, text: str, **fields: Any) -> None:
        self.write("info", text, fields)

    def warning(self, text: str, **fields: Any) -> None:
        self.write("warning", text, fields)

    def error(self, text: str, **fields: Any) -> None:
        self.write("error", text, fields)

    def critical(self, text: str, **fields: Any) -> None:
        self.write("critical", text, fields)

    def write(self, level: str, text: str, fields: dict[str, Any]) -> None:
        """Write one event. A `traceback` among the fields follows the line in text, and is a key in JSON."""
        if LEVELS[level] < self.threshold:
            return
        self.flush()
        if self._storms.admits(level, text, monotonic()):
            self._put(level, text, fields)

    def _put(self, level: str, text: str, fields: dict[str, Any]) -> None:
        self.emit(self._json(level, text, fields) if self.log_format == "json" else self._text(level, text, fields))

    def emit(self, line: str) -> None:
        """Write `line` as it is, without ever waiting: a full disk or pipe may lose the line, never hold us up."""
        if self.tap is not None:
            self.tap(line)
        if self._sink is not None:
            self._sink.write(line.encode("utf-8", "backslashreplace"))

    def _text(self, level: str, text: str, fields: dict[str, Any]) -> str:
        now = time.time()
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now)) + f".{int(now % 1 * 1000):03d}"
        traceback = fields.get("traceback")
        tag = f"{_COLOURS[level]}{level}{_RESET}" if self._colour else level
        line = f"{stamp} [{tag}] {self.who}: {one_line(text)}\n"
        return line + continuation(str(traceback)) if traceback else line

    def _json(self, level: str, text: str, fields: dict[str, Any]) -> str:
        record: dict[str, Any] = {"time": iso_time(time.time()), "level": level, "logger": "aeros", "from": self.who}
        record |= {"pid": os.getpid(), **self.facts, "message": text}
        record |= {_KEYS.get(key, key): value for key, value in fields.items() if value not in (None, "")}
        return json_text(record) + "\n"


def _is_terminal(fd: int) -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    with contextlib.suppress(OSError):
        return os.isatty(fd) and sys.platform != "win32"
    return False
