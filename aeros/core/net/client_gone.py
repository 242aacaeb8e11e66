"""What an ASGI app gets for sending to a client that is gone (ASGI 2.4): an OSError, so that its loop ends."""

from __future__ import annotations

import asyncio


class ClientGone(OSError):  # noqa: N818 - reads as the fact it is
    """The client is gone, or as good as gone. Nothing that is sent reaches it any more."""

    def __init__(self) -> None:
        super().__init__("the client is gone")


async def tell_gone() -> None:
    """Raise ClientGone, a little later.

    Quart 0.22, served by messages, is just cancelling its handler, which shall not see an error first.
    """
    for _ in range(3):
        await asyncio.sleep(0)
    raise ClientGone


def is_of_gone(error: BaseException) -> bool:
    """Tell whether an app ended with nothing but ClientGone, or with what a framework made of it: nothing to log."""
    if isinstance(error, BaseExceptionGroup):
        return all(is_of_gone(one) for one in error.exceptions)
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, ClientGone):
        seen = seen.__cause__ or seen.__context__
    return seen is not None
