"""Listeners of log queues (`logging.handlers.QueueListener`) that the program has started before the fork.

The thread of one does not exist in a forked copy. Records would pile up there, and none would ever be written.
"""

from __future__ import annotations

import queue
import sys
import threading
from typing import Any


def started_listeners() -> list[Any]:
    """Return those whose thread runs in this process."""
    handlers = sys.modules.get("logging.handlers")
    if handlers is None:
        return []
    targets = (getattr(thread, "_target", None) for thread in threading.enumerate())
    owners = (getattr(target, "__self__", None) for target in targets)
    return [owner for owner in owners if isinstance(owner, handlers.QueueListener)]


def restart_listeners(listeners: list[Any]) -> None:
    """In a copy just forked: give each its thread again. In the process that started them nothing happens.

    A queue between processes goes on to the listener of the original.
    """
    for listener in listeners:
        thread, records = listener._thread, listener.queue
        if thread is None or thread.is_alive() or not isinstance(records, (queue.Queue, queue.SimpleQueue)):
            continue
        if isinstance(records, queue.Queue):
            # Made anew in place, as handlers refer to it: it has a dead thread among those it would wake, and records
            # that the original's listener writes.
            records.__init__(records.maxsize)  # type: ignore[misc]
        listener._thread = None
        listener.start()
