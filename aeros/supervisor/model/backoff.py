"""How often a slot has failed lately, and how long to wait before it is filled again."""

from __future__ import annotations

from ...core.record import record

#: The count of failures halves in this time, so an hour of peace forgives everything.
HALF_LIFE_S = 30.0
#: Up to this decayed count a dead worker is replaced at once: single deaths must not cost capacity.
FREE_FAILURES = 6.0
#: Delays start here and grow by this factor with each further failure. Slower growth than the usual doubling, or
#: the waits would be so long that the count decays as fast as it grows, and nobody is ever given up.
FIRST_DELAY_S = 0.1
GROWTH = 1.5
LONGEST_DELAY_S = 10.0
#: From this decayed count on the slot is given up, and tried again only every HEAL_AFTER_S.
GIVE_UP_AT = 10.0
HEAL_AFTER_S = 60.0
#: A worker that had served when SIGKILL hit it was hit from outside (somebody, the OOM killer): hardly a crash loop.
SIGKILL_WEIGHT = 0.25


def weight_of(served_s: float | None, *, sigkill: bool) -> float:
    """Return how much a death counts: 1 for one before or right after readiness, less the longer it had served.

    served_s: seconds since it was ready, None if it never was. sigkill: killed by a SIGKILL that was not ours.
    """
    if served_s is None:
        return 1.0
    weight = 1.0 / max(1.0, served_s)
    return min(weight, SIGKILL_WEIGHT) if sigkill else weight


@record
class FailureRate:
    """A count of failures that decays with time. `at`: monotonic seconds of the last one."""

    count: float = 0.0
    at: float = 0.0

    def decayed(self, now: float) -> float:
        """Return the count as it weighs at `now`."""
        return self.count * float(0.5 ** (max(0.0, now - self.at) / HALF_LIFE_S))

    def failed(self, now: float, weight: float = 1.0) -> FailureRate:
        """Return the rate after one more failure at `now`, of that weight."""
        return FailureRate(self.decayed(now) + weight, now)


def delay_before_respawn(failures: FailureRate, now: float) -> float | None:
    """Return seconds to wait before refilling the slot, or None to give up until it heals.

    failures: after the latest one was counted. now: monotonic seconds.
    The decaying count follows the rule of suture's supervisor (handleFailedService), the growing delay supervisord's;
    that the first few are free is ours: a worker killed from outside is not a crash loop.
    """
    count = failures.decayed(now)
    if count >= GIVE_UP_AT - 1e-9:
        return None
    if count <= FREE_FAILURES:
        return 0.0
    return min(LONGEST_DELAY_S, FIRST_DELAY_S * float(GROWTH ** (count - FREE_FAILURES)))
