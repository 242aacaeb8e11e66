"""How many connections a worker may take at once, on a real scoreboard."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

from aeros.core.shared.scoreboard import CONNECTIONS, CONNECTIONS_TOTAL, HEARTBEAT, PENDING, Scoreboard
from aeros.worker.accept.fairness import DISTRUST_S, PATIENCE_S, SLACK_PER, STUCK_S, Turn


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def family(clock: Clock, loads: Sequence[int]) -> tuple[Scoreboard, list[Any]]:
    scoreboard = Scoreboard.create(len(loads))
    scoreboard.write_roster(list(range(len(loads))))
    cells = [scoreboard.cell(number).words for number in range(len(loads))]
    for words, load in zip(cells, loads, strict=True):
        words[CONNECTIONS] = load
        words[HEARTBEAT] = int(clock.now * 1e9)
    return scoreboard, cells


@pytest.mark.parametrize(
    ("loads", "waiting", "allowed"),
    [
        ([0], 7, 7),  # alone
        ([0, 0], 1, 1),
        ([0, 0], 64, 32),
        ([0, 0, 0, 0], 3, 1),
        ([8, 7, 8, 8, 8, 8, 8, 8], 1, 0),
        ([7, 8, 8, 8, 8, 8, 8, 8], 1, 1),
        ([5, 3], 20, 9),  # 28 in all
        ([5, 3], 1, 0),
        ([5, 5], 1, 1),  # a tie
        ([40, 39], 1, 1),  # one more of so many is fair
        ([9, 0, 0], 6, 0),
        ([0, 9, 9], 2, 2),
    ],
)
def test_a_worker_takes_up_to_its_share(clock: Clock, loads: list[int], waiting: int, allowed: int) -> None:
    scoreboard, _ = family(clock, loads)
    assert Turn(scoreboard, 0).allowance(lambda: waiting) == allowed


@pytest.mark.parametrize("workers", [2, 3, 4, 8])
@pytest.mark.parametrize("connections", [1, 7, 64, 257])
def test_a_burst_ends_even_in_whatever_order_they_ask(clock: Clock, workers: int, connections: int) -> None:
    scoreboard, cells = family(clock, [0] * workers)
    turns = [Turn(scoreboard, number) for number in range(workers)]
    left = connections
    asked = 0
    while left:
        asked += 1
        # The first asks twice as often as each of the others.
        number = asked % (workers + 1) % workers
        taken = min(left, 32, turns[number].allowance(lambda left=left: left))
        cells[number][CONNECTIONS] += taken
        left -= taken
        assert asked < 100 * workers
    loads = [words[CONNECTIONS] for words in cells]
    assert max(loads) - min(loads) <= 1 + min(loads) // SLACK_PER, loads


def test_connections_being_set_up_count(clock: Clock) -> None:
    scoreboard, cells = family(clock, [0, 0])
    cells[0][PENDING] = 2
    assert Turn(scoreboard, 0).allowance(lambda: 1) == 0
    assert Turn(scoreboard, 1).allowance(lambda: 1) == 1


def test_nobody_waits_for_one_that_is_stuck(clock: Clock) -> None:
    scoreboard, cells = family(clock, [4, 0])
    turn = Turn(scoreboard, 0)
    assert turn.allowance(lambda: 3) == 0
    cells[1][HEARTBEAT] = int((clock.now - STUCK_S - 0.1) * 1e9)
    assert turn.allowance(lambda: 3) == 3


def test_nobody_waits_long_for_one_that_does_not_come(clock: Clock) -> None:
    scoreboard, cells = family(clock, [4, 0])
    turn = Turn(scoreboard, 0)
    waited = 0
    while not turn.allowance(lambda: 2):
        waited += 1
        clock.now += 0.001
    assert waited == pytest.approx(PATIENCE_S * 1000, abs=1)
    # Nor for the next connections, until it comes.
    assert turn.allowance(lambda: 2) == 2
    cells[1][CONNECTIONS_TOTAL] += 1
    assert turn.allowance(lambda: 2) == 0
    clock.now += DISTRUST_S
    for words in cells:
        words[HEARTBEAT] = int(clock.now * 1e9)
    assert turn.allowance(lambda: 2) == 0


def test_a_worker_off_the_roster_has_nobody_to_be_fair_to(clock: Clock) -> None:
    scoreboard, _ = family(clock, [4, 0])
    turn = Turn(scoreboard, 0)
    assert turn.allowance(lambda: 1) == 0
    scoreboard.write_roster([1])
    assert turn.allowance(lambda: 5) == 5
