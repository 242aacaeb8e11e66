"""HTTP/2 frames that cost the server more than the client are counted, and for Hypercorn before it sees them.

Neither it nor h2 counts: a client that opens streams and resets them at once (rapid reset), or sends PINGs, SETTINGS or
empty frames without end, keeps both busy for ever. Here each connection has an allowance of such frames that fills up
again with time; who overdraws it gets GOAWAY ENHANCE_YOUR_CALM.
"""

from __future__ import annotations

from collections.abc import Callable

from .frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FRAME_SIZE_ERROR,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    PROTOCOL_ERROR,
    RST_STREAM,
    SETTINGS,
    UNKNOWN,
    WINDOW_UPDATE,
    ConnectionFault,
)

#: kind → (how many at once, how many per second after that). A browser that leaves a page resets all of its streams,
#: 100 at most by default; WINDOW_UPDATE accompanies every download and each is cheap.
ALLOWANCES: dict[int, tuple[float, float]] = {
    DATA: (1000.0, 100.0),  # empty ones
    PRIORITY: (1000.0, 100.0),
    RST_STREAM: (300.0, 50.0),
    SETTINGS: (50.0, 5.0),
    PING: (100.0, 10.0),
    WINDOW_UPDATE: (20000.0, 5000.0),
    CONTINUATION: (100.0, 10.0),
    UNKNOWN: (1000.0, 100.0),
}


class Allowance:
    """What one connection has left of each kind."""

    __slots__ = ("_clock", "_left", "_then")

    def __init__(self, clock: Callable[[], float]) -> None:
        """clock: seconds, monotonic."""
        self._clock = clock
        self._left: dict[int, float] = {}
        self._then: dict[int, float] = {}

    def spend(self, kind: int, count: int = 1) -> bool:
        """Tell whether one more frame of a kind in ALLOWANCES is allowed. count: as how many it counts."""
        at_once, per_second = ALLOWANCES[kind]
        left = self._left.get(kind, at_once)
        if left < count:
            now = self._clock()
            then = self._then.get(kind)
            self._then[kind] = now
            left = min(at_once, left + (now - then) * per_second) if then is not None else left
            if left < count:
                self._left[kind] = left
                return False
        elif kind not in self._then:
            self._then[kind] = self._clock()
        self._left[kind] = left - count
        return True

    def take(self, kind: int, count: int = 1) -> None:
        """The same, and raise ConnectionFault if it is not."""
        if not self.spend(kind, count):
            raise ConnectionFault(ENHANCE_YOUR_CALM, "too many frames of a kind")


class FrameGuard:
    """Reads one connection's frame headers as they pass."""

    __slots__ = ("_allowance", "_begun", "_head", "_largest", "_preface", "_skip", "frames")

    def __init__(self, clock: Callable[[], float], largest: int = 1 << 14) -> None:
        """clock: seconds, monotonic. largest: bytes of a frame's payload."""
        self._allowance = Allowance(clock)
        self._largest = largest
        self._begun = False  # by the client's SETTINGS
        self.frames = 0  # that have begun so far
        self._preface = 0  # bytes of it that have passed
        self._head = b""  # an incomplete frame header
        self._skip = 0  # payload bytes still to pass

    def feed(self, data: bytes) -> int:
        """Return 0, or the error code with which to end the connection."""
        position = 0
        if self._preface < len(PREFACE):
            wanted = PREFACE[self._preface : self._preface + len(data)]
            if data[: len(wanted)] != wanted:
                return PROTOCOL_ERROR
            self._preface += len(wanted)
            position = len(wanted)
        size = len(data)
        while position < size:
            if self._skip:
                passed = min(self._skip, size - position)
                self._skip -= passed
                position += passed
                continue
            need = 9 - len(self._head)
            self._head += data[position : position + need]
            position += need
            if len(self._head) < 9:
                break
            head, self._head = self._head, b""
            self.frames += 1
            self._skip = int.from_bytes(head[:3], "big")
            kind = head[3]
            if self._skip > self._largest:
                return FRAME_SIZE_ERROR  # now: h2 would first wait for all of it
            if kind == SETTINGS:
                self._begun = True
                if self._skip and head[4] & ACK:
                    return FRAME_SIZE_ERROR
            elif not self._begun:
                return PROTOCOL_ERROR
            if kind == HEADERS or (kind == DATA and (self._skip or head[4] & END_STREAM)):
                continue
            if kind in ALLOWANCES and not self._allowance.spend(kind):
                return ENHANCE_YOUR_CALM
        return 0
