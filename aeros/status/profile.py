"""Where a worker has spent its time, as a frozen record: as a flame graph, and as speedscope's file."""

from __future__ import annotations

import json
from typing import Any

from ..core.record import as_dict, record

KINDS = {
    "running": "On the processor",
    "blocked": "Event loop blocked, without the processor",
    "awaiting": "Awaiting, requests and their tasks",
}


@record
class ProfiledStack:
    """kind: running, blocked or awaiting. frames: outermost first, as numbers into the profile's frames."""

    kind: str
    frames: tuple[int, ...]
    seconds: float


@record
class WorkerProfile:
    """One worker over `seconds`.

    frames: function, file and line. samples: how often was looked. left_out_s: seconds of stacks that were too rare to
    be told. Awaiting is counted for each task, so it may be more than `seconds`.
    """

    slot: int
    pid: int
    generation: int
    seconds: float
    samples: int
    left_out_s: float
    frames: tuple[str, ...]
    stacks: tuple[ProfiledStack, ...]

    @classmethod
    def from_message(cls, told: dict[str, Any]) -> WorkerProfile:
        """Return what the supervisor answered."""
        stacks = tuple(ProfiledStack(one["kind"], tuple(one["frames"]), one["seconds"]) for one in told["stacks"])
        return cls(**{**told, "frames": tuple(told["frames"]), "stacks": stacks})

    def to_dict(self) -> dict[str, Any]:
        """Return the same as plain dicts, lists, numbers and strings."""
        return as_dict(self)

    def seconds_of(self, kind: str) -> float:
        """Return the seconds of one kind of all stacks."""
        return sum(stack.seconds for stack in self.stacks if stack.kind == kind)

    @property
    def name(self) -> str:
        return f"worker slot={self.slot} gen={self.generation} pid={self.pid}"

    def speedscope(self) -> str:
        """Return the file that https://www.speedscope.app reads, with a profile for each kind of stacks."""
        profiles = []
        for kind, title in KINDS.items():
            mine = [stack for stack in self.stacks if stack.kind == kind]
            profiles.append(
                {
                    "type": "sampled",
                    "name": title,
                    "unit": "seconds",
                    "startValue": 0,
                    "endValue": sum(stack.seconds for stack in mine),
                    "samples": [list(stack.frames) for stack in mine],
                    "weights": [stack.seconds for stack in mine],
                }
            )
        return json.dumps(
            {
                "$schema": "https://www.speedscope.app/file-format-schema.json",
                "name": self.name,
                "exporter": "aeros",
                "activeProfileIndex": 0,
                "shared": {"frames": [{"name": frame} for frame in self.frames]},
                "profiles": profiles,
            }
        )

    def html(self) -> str:
        """Return a page with the flame graphs that needs nothing else, and runs no code of the profile's."""
        told = json.dumps(self.to_dict() | {"name": self.name, "kinds": KINDS})
        # Within a script element only "</script" and "<!--" mean something.
        return _page().replace('"PROFILE"', told.replace("<", "\\u003c"))


def _page() -> str:
    from importlib.resources import files

    return files("aeros.status").joinpath("flame.html").read_text()
