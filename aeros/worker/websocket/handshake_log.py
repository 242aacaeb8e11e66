"""The access log's line of a WebSocket: of the answer to its handshake."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..lane.service import Service

_LOGGING: set[asyncio.Task[None]] = set()
"""Access log calls that nobody waits for; the loop itself would not keep them."""


def log_handshake(service: Service, scope: dict[str, Any], started: float, response: dict[str, Any]) -> None:
    """started: seconds of perf_counter."""
    if service.access is not None:
        logging = service.loop.create_task(service.access(scope, response, perf_counter() - started))
        _LOGGING.add(logging)
        logging.add_done_callback(_LOGGING.discard)
