"""The app's lifespan, as --lifespan has it: whether it is called, and what an exception of its means.

ASGI leaves one thing open: an app that raises at `lifespan.startup` may know no lifespan, or have failed in it. `auto`
serves it and logs the traceback; `on` takes it for a failure, as `lifespan.startup.failed` always is one.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from hypercorn.utils import LifespanFailureError

from ..core.log.lines import LineLog

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Lifespan:
    """One worker's. mode: auto, on or off."""

    def __init__(self, mode: str, log: LineLog) -> None:
        self._mode = mode
        self._log = log
        self._started = False
        #: Reason and traceback of a start-up that failed.
        self.failure: tuple[str, str] | None = None

    async def run(self, call: Callable[[Send], Awaitable[None]], receive: Receive, send: Send) -> None:
        """Return when the app's shutdown is over. call: calls the app, which is to send by what it is given."""
        if self._mode == "off":
            await _answer(receive, send)
            return

        async def watched(message: dict[str, Any]) -> None:
            self._started = self._started or message["type"] == "lifespan.startup.complete"
            await send(message)

        try:
            await call(watched)
        except Exception as error:
            if self._started or _says_failed(error):
                raise
            self._raised(error)

    def _raised(self, error: Exception) -> None:
        reason, text = f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error))
        if self._mode == "on":
            self.failure = (reason, text)
            raise LifespanFailureError("startup", reason) from error
        self._log.warning(
            f"the app raised in its lifespan start-up and is served without one: {reason} "
            "(--lifespan on does not serve then, off does not ask)",
            traceback=text,
        )


def _says_failed(error: Exception) -> bool:
    """Tell whether the app has said `failed`, which Hypercorn raises through it."""
    said = (LifespanFailureError, asyncio.CancelledError)
    return isinstance(error, said) or (isinstance(error, BaseExceptionGroup) and error.subgroup(said) is not None)


async def _answer(receive: Receive, send: Send) -> None:
    """Play an app that has nothing to do."""
    for _ in ("startup", "shutdown"):
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
