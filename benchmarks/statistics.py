"""What is made of the figures: medians, spread, percentiles, ratios. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Summary:
    """Several measurements of one thing. Spread is half the range, as a part of the median."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Summary:
        if not values:
            raise ValueError("nothing was measured")
        return cls(float(median(values)), float(min(values)), float(max(values)), len(values))

    @property
    def spread(self) -> float:
        return (self.high - self.low) / 2 / self.median if self.median else 0.0

    def to_dict(self) -> dict[str, Any]:
        return {"median": self.median, "low": self.low, "high": self.high, "count": self.count}


def percentile(values: Sequence[float], part: float) -> float:
    """Return the smallest value that at least `part` (0 to 100) per cent of `values` do not exceed."""
    if not values:
        raise ValueError("nothing was measured")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(part / 100 * len(ordered)) - 1)]


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> Summary:
    """Summarise ours/theirs round by round: what changed between two rounds then cancels out."""
    return Summary.of([a / b for a, b in zip(ours, theirs, strict=True) if b])


def skew(counts: Sequence[int]) -> float:
    """Return how many times its fair share the busiest of `counts` has."""
    return max(counts) / (sum(counts) / len(counts)) if sum(counts) else 0.0
