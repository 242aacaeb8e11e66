"""What outlives a worker: the figures of those that ended, and the cells they were counted in."""

from __future__ import annotations

from collections import deque
from typing import Any

from ...core.record import field, mutable
from ...core.shared.scoreboard import HISTOGRAM_BUCKETS, MOST, RESPONSE_CLASSES, CellFigures, Scoreboard


@mutable
class Totals:
    """Sums over all workers that have ended. Sizes in bytes, times in seconds."""

    requests: int = 0
    responses: list[int] = field(default_factory=lambda: [0] * len(RESPONSE_CLASSES))
    connections: int = 0
    websockets: int = 0
    handshakes_failed: int = 0
    http3_failures: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    seconds_sum: float = 0.0
    histogram: list[int] = field(default_factory=lambda: [0] * HISTOGRAM_BUCKETS)

    def add(self, figures: CellFigures, *, last: bool = True) -> None:
        """Add the figures of a worker. last: a request it died in counts as one without a response."""
        responses = list(figures.responses)
        if last:
            responses[-1] += max(0, figures.requests - sum(responses))
        ended = Totals(
            figures.requests,
            responses,
            figures.connections_total,
            figures.websockets_total,
            figures.handshakes_failed,
            figures.http3_failures,
            figures.bytes_in,
            figures.bytes_out,
            figures.seconds_sum,
            list(figures.histogram),
        )
        vars(self).update(vars(self.plus(ended)))

    def plus(self, other: Totals) -> Totals:
        """Return the sums of both."""
        return Totals(**{name: _sum(value, getattr(other, name)) for name, value in vars(self).items()})

    def to_message(self) -> dict[str, Any]:
        return dict(vars(self))


@mutable
class Accounts:
    """All that is counted in a server and must never go down, also when another supervisor takes it over.

    exits: of workers, by kind. reloads: by outcome. slots: requests, responses 5xx and restarts of each.
    """

    totals: Totals = field(default_factory=Totals)
    exits: dict[str, int] = field(default_factory=dict)
    reloads: dict[str, int] = field(default_factory=dict)
    slots: dict[int, list[int]] = field(default_factory=dict)

    def plus(self, other: Accounts) -> Accounts:
        """Return the sums of both."""
        return Accounts(
            self.totals.plus(other.totals),
            _merged(self.exits, other.exits),
            _merged(self.reloads, other.reloads),
            {slot: self._slot(slot, other) for slot in sorted({*self.slots, *other.slots})},
        )

    def _slot(self, slot: int, other: Accounts) -> list[int]:
        return _sum(self.slots.get(slot, [0, 0, 0]), other.slots.get(slot, [0, 0, 0]))  # type: ignore[no-any-return]

    def to_message(self) -> dict[str, Any]:
        slots = {str(slot): counts for slot, counts in self.slots.items()}
        return {"totals": self.totals.to_message(), "exits": self.exits, "reloads": self.reloads, "slots": slots}

    @classmethod
    def from_message(cls, record: Any) -> Accounts:
        """Return what another supervisor sent, perhaps of another version of Aeros. Raises ValueError if it does not
        count as we do: buckets of other widths cannot be added."""
        try:
            _check([record[name] for name in ("totals", "exits", "reloads", "slots")])
            totals = Totals(**record["totals"])
            accounts = cls(totals, dict(record["exits"]), dict(record["reloads"]))
            accounts.slots = {int(slot): [*counts][:3] for slot, counts in record["slots"].items()}
            return cls().plus(accounts)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from None


def _check(counted: Any) -> None:
    """Raise TypeError where something deep inside is no count."""
    if isinstance(counted, (dict, list)):
        for inside in counted.values() if isinstance(counted, dict) else counted:
            _check(inside)
    elif isinstance(counted, bool) or not isinstance(counted, (int, float)) or counted < 0:
        raise TypeError(f"{str(counted)[:40]!r} is no count")


def _sum(one: Any, other: Any) -> Any:
    """Add numbers, or lists of them of the same length, up to the most that a figure can be: whoever counted may have
    lied, and messages carry no more. Raises ValueError."""
    if isinstance(one, list):
        return [min(MOST, a + b) for a, b in zip(one, other, strict=True)]
    return min(MOST, one + other)


def _merged(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in (*one, *(set(other) - set(one)))}


class Cells:
    """Which cells of the scoreboard are free. The longest free one is reused first, so that a reader that has
    just learned of a cell is not overtaken by its next owner."""

    def __init__(self, scoreboard: Scoreboard) -> None:
        self._scoreboard = scoreboard
        self._free = deque(range(scoreboard.cells))

    def take(self) -> int | None:
        """Return a cleared cell, or None when every one is in use."""
        if not self._free:
            return None
        index = self._free.popleft()
        self._scoreboard.cell(index).clear()
        return index

    def claim(self, index: int) -> None:
        """Take this one, which is in use already."""
        self._free.remove(index)

    def give_back(self, index: int) -> None:
        self._free.append(index)
