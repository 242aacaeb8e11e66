"""What a test found out in figures, kept for `scripts/faults`: `--faults-report FILE` writes it as JSON.

The clients of every `Load` are counted without being asked; a test adds what it measured with the fixture `report`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .load import Tally

#: Tallies of the loads of the test that runs now.
tallies: list[Tally] = []


class Report:
    """The figures of one test."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, what: str) -> None:
        """Add a figure as readers are to see it: "replaced in 61 ms"."""
        self.notes.append(what)

    def milliseconds(self, what: str, seconds: float) -> None:
        self.note(f"{what} {seconds * 1000:.0f} ms")


class Collection:
    """The figures of all tests of a run."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.tests: dict[str, dict[str, Any]] = {}

    def begin(self) -> None:
        tallies.clear()

    def end(self, name: str, report: Report | None) -> None:
        """Take what the test measured."""
        found = self.tests.setdefault(name, {})
        found["notes"] = report.notes if report is not None else []
        if tallies:
            found["requests"] = sum(len(tally.records) for tally in tallies)
            found["failed"] = sum(len(tally.failures) for tally in tallies)
        tallies.clear()

    def outcome(self, name: str, outcome: str, seconds: float) -> None:
        """Take how the test ended: a failure in any of its parts counts."""
        found = self.tests.setdefault(name, {})
        if outcome != "passed" or "outcome" not in found:
            found["outcome"] = outcome
        found["seconds"] = round(found.get("seconds", 0.0) + seconds, 2)

    def write(self) -> None:
        if self.path is not None:
            Path(self.path).write_text(json.dumps(self.tests, indent=1))
