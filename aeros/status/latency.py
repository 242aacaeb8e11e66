"""How long requests took, as a histogram with fixed bounds that can be added up over workers."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.record import record
from ..core.shared.scoreboard import bucket_limit

#: The fine buckets of the scoreboard (four to an octave) in which the coarser ones here end: two to an octave, from
#: 64 us to 67 s.
_EDGES = range(19, 100, 2)
#: Upper bounds of the buckets in seconds, the same in every histogram. What took longer is in one more bucket.
BOUNDS_S = tuple(bucket_limit(edge) / 1e6 for edge in _EDGES)


@record
class LatencyHistogram:
    """Requests by the time from their first byte to the end of the response.

    bounds_s: upper bounds in seconds, 41 of them, each about 1.4 times the one before. counts: one more than bounds;
    requests that took less than the bound and not less than the one before; the last: longer than every bound.
    sum_s: of all times, seconds. count: requests. Only finished ones are in it; WebSockets are not requests.
    """

    bounds_s: tuple[float, ...]
    counts: tuple[int, ...]
    sum_s: float
    count: int

    @classmethod
    def of(cls, fine: Sequence[int], sum_s: float) -> LatencyHistogram:
        """Return the histogram of a scoreboard cell, or of the sum of several."""
        counts, begin = [], 0
        for edge in _EDGES:
            counts.append(sum(fine[begin : edge + 1]))
            begin = edge + 1
        counts.append(sum(fine[begin:]))
        return cls(BOUNDS_S, tuple(counts), sum_s, sum(counts))

    def quantile(self, q: float) -> float | None:
        """Return about how many seconds the fraction `q` (0 to 1) of the requests did not exceed; None without any.

        Interpolated within its bucket, so at most the bucket's width (half of the value) off. What lies above every
        bound counts as the highest bound.
        """
        if not 0 <= q <= 1:
            raise ValueError(f"a quantile lies between 0 and 1, not {q}")
        if not self.count:
            return None
        wanted, seen, below = q * self.count, 0, 0.0
        for bound, count in zip(self.bounds_s, self.counts, strict=False):
            if count and seen + count >= wanted:
                return below + (bound - below) * max(0.0, wanted - seen) / count
            seen += count
            below = bound
        return self.bounds_s[-1]
