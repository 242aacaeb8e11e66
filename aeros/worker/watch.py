"""Looking at the source files from a worker: where there is no zygote that does, and while somebody develops."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from ..core.ipc.channel import Channel, ChannelClosed
from ..core.ipc.messages import FilesChanged
from ..core.sources import SourceFiles


def watch_sources(
    loop: asyncio.AbstractEventLoop, patterns: Sequence[str], on_change: Callable[[list[str]], None]
) -> None:
    """Say which source files have changed, for as long as the loop runs. In the loop's own thread: a thousand files
    take some milliseconds, and this is for development."""
    files = SourceFiles(patterns)

    def stirred() -> None:
        if files.stirred():
            look()

    def look() -> None:
        if changed := files.changed():
            on_change(changed)

    if files.fileno() >= 0:
        loop.add_reader(files.fileno(), stirred)
    loop.call_soon(look)  # it may have been saved while it was imported

    def look_again() -> None:
        look()
        loop.call_later(files.every_s, look_again)

    loop.call_later(files.every_s, look_again)


def report_to(channel: Channel) -> Callable[[list[str]], None]:
    """Return what tells the supervisor, where there is no zygote that does."""

    def report(changed: list[str]) -> None:
        with contextlib.suppress(ChannelClosed):
            channel.send(FilesChanged(changed))

    return report
