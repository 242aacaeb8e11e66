"""The latest lines of the server's log, kept for whoever asks for them over the control socket.

Who follows the log asks for what came after the last line it has; where there is nothing yet, the answer waits. So
there is nothing to be written to a reader that does not ask, and one that is slow only misses what was pushed out
meanwhile, and is told how much that was.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable
from typing import Any

from ...core.ipc.messages import clip
from ...core.record import record
from ...core.text import several_lines

MOST_EVENTS = 1000
MOST_BYTES = 256 * 1024
#: Of one event with its traceback; encoded it may be six times as long, and an answer has 1 MiB.
_EVENT_CHARS = 16 * 1024
#: Answers that wait at once; beyond that the one that has waited longest is given empty.
_MOST_WAITING = 128

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@record
class _Event:
    number: int
    text: str
    size: int


class RecentLog:
    """Only code called from the supervisor's loop touches it, once that runs."""

    def __init__(self) -> None:
        self._events: deque[_Event] = deque()
        self._bytes = 0
        self._last = 0
        self._waiting: deque[tuple[int, Callable[[dict[str, Any]], None]]] = deque()

    def add(self, text: str) -> None:
        """Keep an event as it was written: a line, with its traceback where it has one. For `LineLog.tap`."""
        # Cut before it is escaped as well: to escape a megabyte takes the supervisor a second.
        text = _COLOURS.sub("", clip(text, 2 * _EVENT_CHARS)).rstrip("\n")
        text = clip(several_lines(text), _EVENT_CHARS)
        if not text:
            return
        self._last += 1
        event = _Event(self._last, text, len(json.dumps(text)))
        self._events.append(event)
        self._bytes += event.size
        while len(self._events) > MOST_EVENTS or self._bytes > MOST_BYTES:
            self._bytes -= self._events.popleft().size
        self.release()

    def hear(self, text: str) -> None:
        """Keep an event as a zygote or worker says that it wrote it: one line, and what belongs to that indented."""
        first, *rest = text.rstrip("\n").split("\n")
        self.add("\n".join([first, *(line if line.startswith("    ") else f"    {line}" for line in rest)]))

    def ask(self, after: int | None, most: int | None, wait: bool, reply: Callable[[dict[str, Any]], None]) -> None:
        """Answer with the last `most` of the events after number `after` (None: of all there are). wait: for the next
        one, where there is none."""
        if not wait or after is None or self._last > after:
            reply(self._answer(after or 0, most))
            return
        if len(self._waiting) >= _MOST_WAITING:
            number, longest = self._waiting.popleft()
            longest(self._answer(number, None))
        self._waiting.append((after, reply))

    def release(self) -> None:
        """Answer everybody who waits."""
        waiting, self._waiting = self._waiting, deque()
        for after, reply in waiting:
            reply(self._answer(after, None))

    def _answer(self, after: int, most: int | None) -> dict[str, Any]:
        found = [event for event in self._events if event.number > after]
        # To who asks for the first time nothing is missing.
        missed = found[0].number - after - 1 if after and found else 0
        if most is not None:
            found = found[-most:] if most else []
        return {"lines": [event.text for event in found], "last": self._last, "missed": missed}
