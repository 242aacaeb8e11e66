"""What a worker says to its supervisor: without waiting, and to the end where the line is full."""

from __future__ import annotations

import asyncio
import contextlib

from ..core.ipc.channel import Channel, ChannelClosed
from ..core.ipc.messages import Message


def send(loop: asyncio.AbstractEventLoop, channel: Channel, message: Message) -> None:
    """Send the message; what the line has no room for follows as soon as it has. That the supervisor is gone is noticed
    by its end of the line."""
    with contextlib.suppress(ChannelClosed):
        channel.send(message)
        if channel.pending:
            loop.add_writer(channel.fileno(), _flush, loop, channel)


def _flush(loop: asyncio.AbstractEventLoop, channel: Channel) -> None:
    done = True
    with contextlib.suppress(ChannelClosed):
        done = channel.flush()
    if done:
        loop.remove_writer(channel.fileno())
