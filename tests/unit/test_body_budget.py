"""Who goes on and who waits when the budget of request bodies is used up, on a clock of the test's own."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from aeros.worker.lane.body_budget import FREE, LOOK_S, WAIT_S, BodyBudget

MIB = 1 << 20
PIECE = 1 << 18


class Clock:
    """What the budget needs of a loop, with a time that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Any, tuple[Any, ...]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, call: Any, *arguments: Any) -> None:
        self.timers.append((self.now + delay, call, arguments))

    def call_soon(self, call: Any, *arguments: Any) -> None:
        self.call_later(0.0, call, *arguments)

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [timer for timer in self.timers if timer[0] <= end]:
            timer = min(due, key=lambda timer: timer[0])
            self.timers.remove(timer)
            self.now = max(self.now, timer[0])
            timer[1](*timer[2])
        self.now = end


class Upload:
    def __init__(self, budget: BodyBudget, size: int) -> None:
        self.budget, self.size = budget, size
        self.weight = 0
        self.came = 0
        self.held = False
        self.done = False
        self.turned_away = False

    def bring(self, count: int = PIECE) -> None:
        """More of it comes, unless it is held."""
        if self.held or self.done or self.turned_away:
            return
        self.came = min(self.size, self.came + count)
        self.budget.keep(self, self.came)
        self.done = self.came == self.size
        if self.done:
            self.budget.complete(self)
        else:
            self.held = not self.budget.admits(self)

    def end(self) -> None:
        self.budget.forget(self)

    def go_on(self) -> None:
        self.held = False

    def turn_away(self) -> None:
        self.turned_away = True
        self.end()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def budget(clock: Clock, limit: int = 4 * MIB) -> BodyBudget:
    return BodyBudget(limit, cast(asyncio.AbstractEventLoop, clock), lambda: None)


def rounds(uploads: list[Upload], count: int = 200, ending: bool = False) -> None:
    for _ in range(count):
        for upload in uploads:
            upload.bring()
            if ending and upload.done and upload.weight:
                upload.end()


def test_uploads_that_end_all_come_to_their_end_within_the_budget(clock: Clock) -> None:
    one = budget(clock)
    uploads = [Upload(one, 3 * MIB) for _ in range(20)]
    most = 0
    for _ in range(400):
        for upload in uploads:
            upload.bring()
            most = max(most, one.held)
            if upload.done:
                upload.end()
    assert all(upload.done for upload in uploads)
    assert one.held == 0
    assert most <= 4 * MIB + 20 * PIECE + 3 * MIB


def test_one_alone_may_want_more_than_the_whole(clock: Clock) -> None:
    one = budget(clock, MIB)
    upload = Upload(one, 50 * MIB)
    rounds([upload], 300)
    assert upload.done


def test_the_oldest_goes_on_when_all_wait(clock: Clock) -> None:
    one = budget(clock)
    uploads = [Upload(one, 8 * MIB) for _ in range(4)]
    rounds(uploads, 40)
    assert [upload.done for upload in uploads] == [True, False, False, False]
    assert all(upload.held for upload in uploads[1:])
    uploads[0].end()
    rounds(uploads, 40)
    assert uploads[1].done


def test_it_waits_while_handlers_have_half_of_it(clock: Clock) -> None:
    one = budget(clock)
    at_work = Upload(one, 3 * MIB)
    rounds([at_work])
    others = [Upload(one, 2 * MIB) for _ in range(2)]
    rounds(others, 20)
    assert not any(upload.done for upload in others)
    at_work.end()
    rounds(others, 20)
    assert all(upload.done for upload in others)


def test_who_waits_too_long_is_turned_away_and_makes_room(clock: Clock) -> None:
    one = budget(clock)
    at_work = Upload(one, 4 * MIB)
    rounds([at_work])
    waiting = Upload(one, 2 * MIB)
    rounds([waiting], 20)
    assert waiting.held
    clock.pass_time(WAIT_S - LOOK_S)
    assert not waiting.turned_away
    clock.pass_time(3 * LOOK_S)
    assert waiting.turned_away
    assert one.held == 4 * MIB


def test_small_bodies_neither_count_nor_wait(clock: Clock) -> None:
    one = budget(clock)
    rounds([Upload(one, 4 * MIB)])
    small = Upload(one, FREE)
    rounds([small], 5)
    assert small.done
    assert small.weight == 0


def test_what_comes_at_once_from_many_is_turned_away_beyond_a_quarter_more(clock: Clock) -> None:
    one = budget(clock)
    many = [Upload(one, 2 * MIB) for _ in range(100)]
    for upload in many:
        upload.bring()
    assert one.held == 100 * PIECE
    clock.pass_time(0)
    assert one.held <= 5 * MIB
    assert sum(upload.turned_away for upload in many) == 80
    assert not many[0].turned_away


def test_a_connection_has_its_share_and_leaves_the_rest_to_others(clock: Clock) -> None:
    whole = budget(clock)
    share = whole.share()
    greedy = [Upload(share, 2 * MIB) for _ in range(3)]
    rounds(greedy)
    assert whole.held == share.held <= MIB + 2 * MIB + 3 * PIECE
    other = Upload(whole, MIB // 2)
    rounds([other])
    assert other.done
    for upload in (*greedy, other):
        upload.end()
    assert whole.held == share.held == 0
    assert not greedy[1].done or not greedy[2].done
    rounds(greedy)


def test_no_wake_is_lost_when_the_one_that_went_on_is_slow(clock: Clock) -> None:
    one = budget(clock)
    at_work = Upload(one, 4 * MIB)
    rounds([at_work])
    waiting = [Upload(one, MIB) for _ in range(4)]
    rounds(waiting, 3)
    at_work.end()
    for _ in range(20):
        clock.pass_time(LOOK_S)
        for upload in waiting[1:]:
            upload.bring()
    assert all(upload.done for upload in waiting[1:])
