"""What several processes say of the same files."""

from __future__ import annotations

from aeros.core.sources import WATCH_EVERY_S
from aeros.supervisor.zygotes.changes import Changes


def test_a_save_that_two_processes_see_counts_once() -> None:
    changes = Changes()
    assert changes.new(1, ["app.py"], 10.0) == ["app.py"]
    assert changes.new(2, ["app.py"], 10.0 + WATCH_EVERY_S) == []
    assert changes.new(2, ["app.py", "other.py"], 10.0 + WATCH_EVERY_S) == ["other.py"]


def test_another_save_counts_again() -> None:
    changes = Changes()
    assert changes.new(1, ["app.py"], 10.0) == ["app.py"]
    assert changes.new(1, ["app.py"], 10.0 + WATCH_EVERY_S) == ["app.py"]
    assert changes.new(2, ["app.py"], 20.0) == ["app.py"]
