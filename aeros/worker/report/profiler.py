"""Where a worker spends its time, by samples: on the processor, in calls that block the loop, in awaits of requests.

The processor's time is sampled by a timer signal whose Python handler runs in the main thread between two bytecodes.
pyinstrument was tried in its place: it hooks into every call, and a request cost 2.8 times as much (441 us for 158);
with the timer nothing could be measured. A thread that samples alone sees the loop only where it lets go of the
interpreter's lock, which is mostly where it waits for clients.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from types import FrameType

from ...core.ipc.messages import Profiled
from .requests_table import Request
from .task_stacks import family, frames_of

RUNNING, BLOCKED, AWAITING = "running", "blocked", "awaiting"
_CPU_EVERY_S, _LOOK_EVERY_S, _AWAIT_EVERY_S = 0.01, 0.05, 0.1
#: A loop that has not turned for this long, without taking the processor's time, is blocked.
_BLOCKED_S = 0.1
_MOST_DEPTH, _MOST_TASKS, _MOST_STACKS, _MOST_FRAMES = 80, 100, 1500, 4000

Served = Callable[[], Iterable[Request]]
#: A place in the code: function, file, line.
Place = tuple[str, str, int]


class Profiler:
    """Samples from `start` for so many seconds, then calls `done` once. One at a time in a process."""

    def __init__(self, loop: asyncio.AbstractEventLoop, served: Served, done: Callable[[Profiled], None]) -> None:
        """served: returns the requests and WebSockets under way."""
        self._loop = loop
        self._served = served
        self._done = done
        self._main = threading.get_ident()
        self._seconds: dict[tuple[str, tuple[Place, ...]], float] = {}
        self._samples = 0
        self._over = threading.Event()
        self._turned = self._on_cpu = time.monotonic()

    def start(self, seconds: float) -> str:
        """Begin; return why it cannot be, "" if it can."""
        if signal.getsignal(signal.SIGPROF) not in (signal.SIG_DFL, None):
            return "SIGPROF is taken: a profile is under way already, or the app has a profiler of its own"
        signal.signal(signal.SIGPROF, self._sample)
        signal.siginterrupt(signal.SIGPROF, False)
        signal.setitimer(signal.ITIMER_PROF, _CPU_EVERY_S, _CPU_EVERY_S)
        self._turn()
        self._await()
        threading.Thread(target=self._look, name="aeros-profile", daemon=True).start()
        self._loop.call_later(seconds, self._end, time.monotonic())
        return ""

    def _end(self, began: float) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        # Ignored first: one that is on its way would end the process.
        signal.signal(signal.SIGPROF, signal.SIG_IGN)
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        self._over.set()
        self._done(self._result(time.monotonic() - began))

    # --- samples ---------------------------------------------------------------------------------------------

    def _sample(self, signum: int, frame: FrameType | None) -> None:
        self._on_cpu = time.monotonic()
        self._add(RUNNING, _stack(frame), _CPU_EVERY_S)

    def _turn(self) -> None:
        self._turned = time.monotonic()
        if not self._over.is_set():
            self._loop.call_later(_LOOK_EVERY_S, self._turn)

    def _look(self) -> None:
        """In a thread: a loop that sleeps in a call cannot say so itself."""
        while not self._over.wait(_LOOK_EVERY_S):
            now = time.monotonic()
            if now - self._turned > _BLOCKED_S and now - self._on_cpu > _LOOK_EVERY_S:
                self._add(BLOCKED, _stack(sys._current_frames().get(self._main)), _LOOK_EVERY_S)

    def _await(self) -> None:
        left = _MOST_TASKS
        for request in self._served():
            for task in family(request.task) if request.task is not None else ():
                left -= 1
                self._add(AWAITING, tuple(map(_place, frames_of(task))), _AWAIT_EVERY_S)
            if left <= 0:
                break
        if not self._over.is_set():
            self._loop.call_later(_AWAIT_EVERY_S, self._await)

    def _add(self, kind: str, stack: tuple[Place, ...], seconds: float) -> None:
        self._samples += 1
        if stack:
            key = (kind, stack[-_MOST_DEPTH:])
            self._seconds[key] = self._seconds.get(key, 0.0) + seconds

    # --- the result ------------------------------------------------------------------------------------------

    def _result(self, seconds: float) -> Profiled:
        """Return what took longest, as much of it as a message carries."""
        numbers: dict[str, int] = {}
        stacks: list[dict[str, object]] = []
        left_out = 0.0
        found = sorted(self._seconds.copy().items(), key=lambda item: -item[1])
        for (kind, stack), spent in found:
            if len(stacks) >= _MOST_STACKS or len(numbers) >= _MOST_FRAMES:
                left_out += spent
                continue
            names = [f"{name} ({file}:{line})"[:200] for name, file, line in stack]
            stacks.append(
                {
                    "kind": kind,
                    "frames": [numbers.setdefault(name, len(numbers)) for name in names],
                    "seconds": round(spent, 4),
                }
            )
        return Profiled("", round(seconds, 3), self._samples, round(left_out, 3), list(numbers), stacks)


def profile(loop: asyncio.AbstractEventLoop, served: Served, send: Callable[[Profiled], None], seconds: float) -> None:
    """Profile this worker, and send the result. served: see Profiler."""
    profiler = Profiler(loop, served, send)
    if reason := profiler.start(seconds):
        send(Profiled(reason, 0.0, 0, 0.0, [], []))


def _stack(frame: FrameType | None) -> tuple[Place, ...]:
    """Return the frames from the event loop on, outermost first."""
    found: list[Place] = []
    while frame is not None and "/asyncio/runners.py" not in frame.f_code.co_filename:
        found.append(_place(frame))
        frame = frame.f_back
    return tuple(reversed(found))


def _place(frame: FrameType) -> Place:
    code = frame.f_code
    return code.co_qualname, code.co_filename, frame.f_lineno
