"""How often a slot has failed lately, and how long to wait before it is filled again."""

from __future__ import annotations

from dataclasses import dataclass

#: The count of failures halves in this time, so an hour of peace forgives everything.
HALF_LIFE_S = 30.0
#: Up to this decayed count a dead worker is replaced at once: single deaths must not cost capacity.
FREE_FAILURES = 6.0
#: Delays start here and double with each further failure.
FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 10.0
#: From this decayed count on the slot is given up, and tried again only every HEAL_AFTER_S.
GIVE_UP_AT = 12.0
HEAL_AFTER_S = 60.0


@dataclass(frozen=True)
class FailureRate:
    """A count of failures that decays with time. `at`: monotonic seconds of the last one."""

    count: float = 0.0
    at: float = 0.0

    def decayed(self, now: float) -> float:
        """Return the count as it weighs at `now`."""
        return self.count * float(0.5 ** (max(0.0, now - self.at) / HALF_LIFE_S))

    def failed(self, now: float) -> FailureRate:
        """Return the rate after one more failure at `now`."""
        return FailureRate(self.decayed(now) + 1.0, now)


def delay_before_respawn(failures: FailureRate, now: float) -> float | None:
    """Return seconds to wait before refilling the slot, or None to give up until it heals.

    failures: after the latest one was counted. now: monotonic seconds.
    The decaying count follows the rule of suture's supervisor (handleFailedService), the doubling delay s6 and
    supervisord; that the first few are free is ours: a worker killed from outside is not a crash loop.
    """
    count = failures.decayed(now)
    if count >= GIVE_UP_AT - 1e-9:
        return None
    if count <= FREE_FAILURES:
        return 0.0
    return min(LONGEST_DELAY_S, FIRST_DELAY_S * float(2.0 ** (count - FREE_FAILURES)))
