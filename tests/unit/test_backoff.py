"""Back-off: single deaths cost nothing, crash loops are slowed, time forgives."""

import pytest

from aeros.supervisor.backoff import (
    FREE_FAILURES,
    GIVE_UP_AT,
    HALF_LIFE_S,
    LONGEST_DELAY_S,
    FailureRate,
    delay_before_respawn,
)


def fail_every(seconds, times):
    rate, now, delays = FailureRate(), 1000.0, []
    for _ in range(times):
        rate = rate.failed(now)
        delays.append(delay_before_respawn(rate, now))
        now += seconds
    return delays


def test_the_first_failures_are_replaced_at_once():
    assert fail_every(0.3, int(FREE_FAILURES)) == [0.0] * int(FREE_FAILURES)


def test_a_crash_loop_waits_longer_each_time_and_is_given_up():
    delays = fail_every(0.3, 20)
    waits = [delay for delay in delays if delay]
    assert waits == sorted(waits)
    assert waits[0] < 0.3
    assert max(waits) <= LONGEST_DELAY_S
    assert delays[-1] is None


def test_a_death_a_minute_is_always_replaced_at_once():
    assert set(fail_every(60.0, 50)) == {0.0}


def test_a_worker_killed_from_outside_once_a_second_costs_no_capacity_worth_naming():
    # One slot of four, hit a quarter of the time.
    assert max(fail_every(4.0, 8)) <= 0.5


def test_failures_halve_with_time():
    rate = FailureRate(8.0, 100.0)
    assert rate.decayed(100.0 + HALF_LIFE_S) == pytest.approx(4.0)
    assert rate.decayed(100.0) == 8.0
    assert rate.decayed(50.0) == 8.0, "a clock that seems to go back forgives nothing and breaks nothing"


def test_a_given_up_slot_heals_with_time():
    rate = FailureRate(GIVE_UP_AT, 0.0)
    assert delay_before_respawn(rate, 0.0) is None
    assert delay_before_respawn(rate, 60.0) == 0.0
