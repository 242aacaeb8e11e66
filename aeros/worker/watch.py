"""`--reload` where each worker loads the app itself: there is no zygote to look at the files, so a worker does."""

from __future__ import annotations

import asyncio
import contextlib

from ..core.ipc.channel import Channel, ChannelClosed
from ..core.ipc.messages import FilesChanged
from ..core.sources import WATCH_EVERY_S, SourceFiles


def watch_sources(loop: asyncio.AbstractEventLoop, channel: Channel) -> None:
    """Tell the supervisor of changed source files, for as long as the loop runs. In the loop's own thread: a thousand
    files take some milliseconds, and this is for development."""
    files = SourceFiles()

    def look() -> None:
        if changed := files.changed():
            with contextlib.suppress(ChannelClosed):
                channel.send(FilesChanged(changed))
        loop.call_later(WATCH_EVERY_S, look)

    loop.call_later(WATCH_EVERY_S, look)
