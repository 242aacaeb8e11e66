"""The parts of the direct path that differ between the versions of Quart, for the one that is installed."""

from __future__ import annotations

from .versions import quart_line

# The type checker is told which of the two is true: see lean.
QUART_022 = quart_line() == "0.22"
QUART_023 = quart_line() == "0.23"

if QUART_022:
    from .v022.worker import BODY_STATE, CLIENT_GONE, COUNTED, LaneBody, QuartWebSocket, feeder, tell_gone
elif QUART_023:
    from .v023.worker import BODY_STATE, CLIENT_GONE, COUNTED, LaneBody, QuartWebSocket, feeder, tell_gone

__all__ = ["BODY_STATE", "CLIENT_GONE", "COUNTED", "LaneBody", "QuartWebSocket", "feeder", "tell_gone"]
