"""Profiles that workers were asked for and have not sent yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ...core.ipc.messages import Profile, Profiled
from ...core.text import one_line
from ...errors import StateError
from ..model.fleet import Worker
from ..state.office import Office
from .names import name_of

#: For a loop that stands still just when its profile is over.
_GRACE_S = 15.0
#: An answer has 1 MiB.
_MOST_STACKS, _MOST_FRAMES, _MOST_DEPTH = 2000, 6000, 100

Give = Callable[[dict[str, Any] | StateError], None]


class Profiles:
    """One per supervisor."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._waiting: dict[int, tuple[Worker, Give, asyncio.TimerHandle]] = {}

    def ask(self, worker: Worker, channel: Any, seconds: float, give: Give) -> None:
        """Have the worker profile itself; `give` is called once. Raises StateError where it does so already."""
        ident = worker.ident
        if ident in self._waiting:
            raise StateError(f"{name_of(worker)} is being profiled already")
        self._office.tell(channel, Profile(seconds))
        late = self._office.loop.call_later(
            seconds + _GRACE_S, self.fail, ident, "has not sent its profile: it is stuck, or gone"
        )
        self._waiting[ident] = (worker, give, late)

    def hear(self, worker: Worker, told: Profiled) -> None:
        """Answer whoever has asked; a profile that nobody asked for is dropped."""
        if worker.ident not in self._waiting:
            return
        _, give, late = self._waiting.pop(worker.ident)
        late.cancel()
        if told.reason:
            give(StateError(f"{name_of(worker)}: {one_line(told.reason[:300])}"))
            return
        who = {"slot": worker.slot, "pid": worker.pid, "generation": worker.generation}
        frames = [one_line(frame[:250]) for frame in told.frames[:_MOST_FRAMES]]
        stacks = [checked for stack in told.stacks[:_MOST_STACKS] if (checked := _checked(stack, len(frames)))]
        give(
            {**who, "seconds": told.seconds, "samples": told.samples, "left_out_s": told.left_out_s}
            | {"frames": frames, "stacks": stacks}
        )

    def fail(self, ident: int, why: str) -> None:
        """The worker will not send it; nothing if it has."""
        if ident in self._waiting:
            worker, give, late = self._waiting.pop(ident)
            late.cancel()
            give(StateError(f"{name_of(worker)} {why}"))


def _checked(stack: dict[str, Any], frames: int) -> dict[str, Any] | None:
    """Return the stack if it is one: a worker may say anything."""
    kind, numbers, seconds = stack.get("kind"), stack.get("frames"), stack.get("seconds")
    if kind not in ("running", "blocked", "awaiting") or not isinstance(numbers, list):
        return None
    if not isinstance(seconds, (int, float)) or not 0 <= seconds < 1e9:
        return None
    if not all(type(number) is int and 0 <= number < frames for number in numbers):
        return None
    return {"kind": kind, "frames": numbers[:_MOST_DEPTH], "seconds": float(seconds)}
