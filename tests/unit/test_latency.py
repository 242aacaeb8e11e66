"""The latency histogram: its bounds, what counts where, and what it makes of a quantile."""

from __future__ import annotations

from itertools import pairwise

import pytest

from aeros.core.shared.scoreboard import HISTOGRAM_BUCKETS, bucket_of
from aeros.status.latency import BOUNDS_S, LatencyHistogram


def histogram(*seconds: float) -> LatencyHistogram:
    fine = [0] * HISTOGRAM_BUCKETS
    for one in seconds:
        fine[bucket_of(int(one * 1e6))] += 1
    return LatencyHistogram.of(fine, sum(seconds))


def test_bounds_rise_evenly_from_below_a_millisecond_to_above_a_minute() -> None:
    assert len(BOUNDS_S) == 41
    assert BOUNDS_S[0] == 64e-6
    assert 60 < BOUNDS_S[-1] < 70
    assert all(1.3 < later / earlier < 1.55 for earlier, later in pairwise(BOUNDS_S))


@pytest.mark.parametrize("seconds", [0.0, 1e-6, 63e-6, 64e-6, 95e-6, 96e-6, 0.0005, 0.1, 1.0, 59.0, 67.0, 68.0, 1e6])
def test_each_time_is_counted_below_its_bound(seconds: float) -> None:
    counted = histogram(seconds)
    (index,) = [index for index, count in enumerate(counted.counts) if count]
    assert index == len(BOUNDS_S) or seconds < BOUNDS_S[index]
    assert index == 0 or seconds >= BOUNDS_S[index - 1]
    assert (counted.count, counted.sum_s) == (1, seconds)


def test_quantiles_are_close_to_those_of_the_times() -> None:
    times = [0.001 * number for number in range(1, 1001)]
    counted = histogram(*times)
    for q in (0.01, 0.5, 0.95, 0.99, 1.0):
        assert counted.quantile(q) == pytest.approx(times[max(0, int(q * 1000) - 1)], rel=0.25)


def test_the_quantile_of_nothing_is_none_and_nonsense_is_refused() -> None:
    assert histogram().quantile(0.5) is None
    assert histogram(100.0).quantile(0.5) == BOUNDS_S[-1]
    with pytest.raises(ValueError, match="between 0 and 1"):
        histogram(1.0).quantile(95)
