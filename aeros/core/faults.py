"""Faults on purpose: which system calls are to fail, how, how often, and the dice that decide.

    fork=EAGAIN:0.01,pipe=EMFILE:0.02,seed=7

Nothing of this is imported unless somebody asks for it (see `supervisor.system.faulty`).
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from typing import Any

from .record import record

#: What can be made to fail, as it is called in the text.
CALLS = ("fork", "spawn", "socketpair", "pipe", "dup", "memfd", "open", "write", "accept", "pidfd", "kill")


@record
class FaultPlan:
    """chances: for each call the errors it may fail with, each with its probability. seed: None takes a new one."""

    chances: tuple[tuple[str, int, float], ...]
    seed: int | None = None

    def __str__(self) -> str:
        parts = [f"{call}={errno.errorcode[number]}:{chance:g}" for call, number, chance in self.chances]
        return ",".join([*parts, *([f"seed={self.seed}"] if self.seed is not None else [])])


def parse(text: str) -> FaultPlan:
    """Return the plan that `text` describes. Raises ValueError with a clause that says what is wrong."""
    chances: list[tuple[str, int, float]] = []
    seed: int | None = None
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        call, equals, what = part.partition("=")
        if call == "seed":
            if not what.isdecimal():
                raise ValueError(f"must have a whole number after seed=, not {what!r}")
            seed = int(what)
            continue
        if call not in CALLS:
            raise ValueError(f"must name calls among {', '.join(CALLS)}, or seed; {call!r} is none of them")
        name, colon, share = what.partition(":")
        number = getattr(errno, name, None) if name.startswith("E") else None
        if not equals or not isinstance(number, int):
            raise ValueError(f"must say how {call} fails as an errno such as EAGAIN, not {name!r}")
        try:
            chance = float(share) if colon else 1.0
        except ValueError:
            chance = -1.0
        if not 0.0 < chance <= 1.0:
            raise ValueError(f"must give {call} a probability above 0 and up to 1, not {share!r}")
        chances.append((call, number, chance))
    if not chances:
        raise ValueError("must name at least one call, as in fork=EAGAIN:0.01")
    return FaultPlan(tuple(chances), seed)


class Dice:
    """Decides for one process, and counts what it did. The same seed and role give the same decisions."""

    def __init__(self, plan: FaultPlan, role: str) -> None:
        self.seed = plan.seed if plan.seed is not None else random.SystemRandom().randrange(1 << 32)
        self.plan = FaultPlan(plan.chances, self.seed)
        self.thrown: dict[str, int] = {}
        self.failed: dict[str, int] = {}
        self._random = random.Random()
        self._by_call = {
            call: [(number, chance) for name, number, chance in plan.chances if name == call] for call in CALLS
        }
        self.enter(role)

    def enter(self, role: str) -> None:
        """Be another process from now on, with decisions of its own."""
        self._random.seed(f"{self.seed} {role}")

    def stop(self) -> None:
        """Have nothing fail any more."""
        self._by_call = {call: [] for call in CALLS}

    def throw(self, call: str) -> None:
        """Raise OSError if this time `call` is to fail."""
        self.thrown[call] = self.thrown.get(call, 0) + 1
        for number, chance in self._by_call[call]:
            if self._random.random() < chance:
                self.failed[call] = self.failed.get(call, 0) + 1
                raise OSError(number, f"{os.strerror(number)} (on purpose)")

    def loaded(self, call: str, real: Callable[..., Any]) -> Callable[..., Any]:
        """Return `real`, which from time to time fails instead."""

        def perhaps(*args: Any, **keywords: Any) -> Any:
            self.throw(call)
            return real(*args, **keywords)

        return perhaps
