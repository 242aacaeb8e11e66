"""What is printed, by the app, a library or the interpreter, as JSON lines: with --log-format json a line is an object.

Lines that are JSON objects already pass as they are: an app may print its own. Handlers that the app has given a stream
of its own, and what C code or another program writes to the descriptor, do not come here.
"""

from __future__ import annotations

import io
import json
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..clock import iso_time
from ..process.streams import standard
from ..text import json_text
from .sink import Sink

#: The interpreter prints a traceback in many writes; its last line is the first that is not indented.
_TRACEBACK = "Traceback (most recent call last):"
#: How a command of ours says why it fails.
_OURS = "aeros: "
#: Text without an end is not waited for beyond this.
_MOST_CHARS = 64 * 1024


class Spoken(io.TextIOBase):
    """Stands for sys.stdout or sys.stderr."""

    def __init__(self, name: str, fd: int, original: Any) -> None:
        """name: stdout or stderr. fd: to write to. original: the stream it stands for."""
        self.name = name
        self._fd = fd
        self._original = original
        #: Of the process: worker, generation.
        self.facts: Mapping[str, Any] = {}
        #: By thread, for print() writes a line and its end apart.
        self._begun: dict[int, str] = {}
        self._sink = Sink(fd)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "backslashreplace"

    @property
    def buffer(self) -> Any:
        """For who writes bytes."""
        return self._original.buffer

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        thread = threading.get_ident()
        begun = self._begun.pop(thread, "") + text
        whole, end, rest = begun.rpartition("\n")
        if len(rest) > _MOST_CHARS:
            whole, end, rest = begun, "\n", ""
        if end and _is_open(whole) and len(whole) < _MOST_CHARS:
            rest = begun
        elif end:
            self._say(whole)
        if rest:
            self._begun[thread] = rest
        return len(text)

    def flush(self) -> None:
        """Write what this thread has begun, unless it is a traceback; the interpreter flushes in the midst of one."""
        begun = self._begun.pop(threading.get_ident(), "")
        if begun and _TRACEBACK in begun:
            self._begun[threading.get_ident()] = begun
        elif begun:
            self._say(begun)
        self._sink.flush()

    def reopen(self) -> None:
        """The descriptor is another file's now."""
        self._sink.close()
        self._sink = Sink(standard(self._fd))

    def forget(self) -> None:
        """In a copy just forked: what the original has begun is the original's to end."""
        self._begun.clear()

    def close(self) -> None:
        """The stream is the process's, not of who prints."""

    def end(self) -> None:
        """The process ends: nothing more comes to what was begun."""
        begun, self._begun = self._begun, {}
        for text in begun.values():
            self._say(text)
        self._sink.flush()

    def _say(self, text: str) -> None:
        if text.strip():
            lines = text.split("\n")
            if all(_is_object(line) for line in lines):
                self._sink.write((text + "\n").encode("utf-8", "backslashreplace"))
                return
            self._sink.write((json_text(self._record(text)) + "\n").encode())

    def _record(self, text: str) -> dict[str, Any]:
        level, logger, message, exception = "info" if self.name == "stdout" else "warning", self.name, text, ""
        if text.startswith(_OURS):
            level, logger = "error", "aeros"
            message, _, exception = text.removeprefix(_OURS).partition("\n")
        elif _TRACEBACK in text:
            level, message, exception = "error", text.rstrip().rpartition("\n")[2], text
        record = {"time": iso_time(time.time()), "level": level, "logger": logger, "pid": os.getpid(), **self.facts}
        return record | {"message": message} | ({"exception": exception} if exception else {})


def _is_open(text: str) -> bool:
    """Whether text ends within a traceback."""
    lines = text.split("\n")
    return _TRACEBACK in text and (lines[-1][:1] in (" ", "") or lines[-1].startswith(_TRACEBACK))


def _is_object(line: str) -> bool:
    if not (line.startswith("{") and line.endswith("}")):
        return False
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def speak_json(facts: Mapping[str, Any] | None = None, names: Sequence[str] = ("stdout", "stderr")) -> None:
    """Have what is printed in this process from now on be JSON lines. facts: of the process, for each of them."""
    for name in names:
        fd = 1 if name == "stdout" else 2
        stream = getattr(sys, name)
        if not isinstance(stream, Spoken):
            # A prompt of breakpoint() is no line of a log.
            if stream is None or (name == "stdout" and stream.isatty()):
                continue
            stream.flush()
            stream = Spoken(name, standard(fd), stream)
            setattr(sys, name, stream)
        stream.forget()
        stream.facts = facts or {}


def say_rest() -> None:
    """The process ends: write what was printed without an end."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, Spoken):
            stream.end()
