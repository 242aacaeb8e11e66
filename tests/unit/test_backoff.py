"""Back-off: single deaths cost nothing, crash loops are slowed, time forgives."""

import pytest

from aeros.supervisor.model.backoff import (
    FREE_FAILURES,
    GIVE_UP_AT,
    HALF_LIFE_S,
    HEAL_AFTER_S,
    LONGEST_DELAY_S,
    FailureRate,
    delay_before_respawn,
    weight_of,
)


def fail_every(seconds, times, weight=1.0):
    """Delays of a slot whose worker dies `seconds` after each start."""
    rate, now, delays = FailureRate(), 1000.0, []
    for _ in range(times):
        rate = rate.failed(now, weight)
        delays.append(delay_before_respawn(rate, now))
        if delays[-1] is None:
            break
        now += seconds + delays[-1]
    return delays


def test_the_first_failures_are_replaced_at_once():
    assert fail_every(0.3, int(FREE_FAILURES)) == [0.0] * int(FREE_FAILURES)


def test_a_crash_loop_waits_longer_each_time_and_is_given_up():
    delays = fail_every(0.3, 20)
    waits = [delay for delay in delays if delay]
    assert waits == sorted(waits)
    assert waits[0] < 0.3
    assert sum(waits) < 10, "giving up comes within seconds, not minutes"
    assert max(waits) <= LONGEST_DELAY_S
    assert delays[-1] is None


def test_a_death_a_minute_is_always_replaced_at_once():
    assert set(fail_every(60.0, 50)) == {0.0}


def test_a_worker_killed_from_outside_once_a_second_costs_no_capacity_worth_naming():
    # Even when it is always the same one.
    delays = fail_every(1.0, 300, weight_of(1.0, sigkill=True))
    assert None not in delays
    assert max(delays) < 0.5


@pytest.mark.parametrize("served_s", [0.0, 0.5, 1.0, 1.5])
def test_one_that_dies_soon_after_it_is_ready_is_a_crash_loop(served_s):
    delays = fail_every(served_s + 0.05, 100, weight_of(served_s, sigkill=False))
    assert delays[-1] is None


def test_the_longer_it_served_the_less_a_death_counts():
    assert weight_of(None, sigkill=True) == weight_of(0.2, sigkill=False) == 1.0
    assert weight_of(10.0, sigkill=False) == pytest.approx(0.1)


def test_failures_halve_with_time():
    rate = FailureRate(8.0, 100.0)
    assert rate.decayed(100.0 + HALF_LIFE_S) == pytest.approx(4.0)
    assert rate.decayed(100.0) == 8.0
    assert rate.decayed(50.0) == 8.0, "a clock that seems to go back forgives nothing and breaks nothing"


def test_a_given_up_slot_heals_with_time():
    rate = FailureRate(GIVE_UP_AT, 0.0)
    assert delay_before_respawn(rate, 0.0) is None
    assert delay_before_respawn(rate, HEAL_AFTER_S) == 0.0
