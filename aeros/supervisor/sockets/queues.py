"""The accept queues, for everybody to see."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.net.accept_queue import accept_queue
from ...core.net.listener import Listener
from ...core.shared.scoreboard import Scoreboard


def publish_queues(listeners: Sequence[Listener], scoreboard: Scoreboard) -> None:
    """Write into the scoreboard how many wait at each listener. A microsecond each."""
    for index, listener in enumerate(listeners):
        length, limit = accept_queue(listener.sock) or (None, 0)
        scoreboard.write_queue(index, length, limit)
