"""Tasks that wait until something has changed, and look again then."""

from __future__ import annotations

import asyncio

Waiters = list[asyncio.Future[None]]


async def wait_among(waiters: Waiters, loop: asyncio.AbstractEventLoop) -> None:
    """Return after the next `wake`."""
    waiter = loop.create_future()
    waiters.append(waiter)
    await waiter


def wake(waiters: Waiters) -> None:
    """Have all of them look."""
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
    waiters.clear()
