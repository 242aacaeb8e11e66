"""How an HTTP/2 connection ends politely: GOAWAY in two steps, and closed when its last stream is done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING

from .frames import LAST_STREAM_ID, NO_ERROR, goaway
from .goaway import GOAWAY_GRACE_S, GOAWAY_IDLE_WAIT_S

if TYPE_CHECKING:
    from .streams import Streams


class Stage(Enum):
    STAYING = 1
    WAITING = 2  # for an idle moment
    ANNOUNCED = 3  # the first GOAWAY was sent: what crosses it is still served
    LEAVING = 4  # no new streams


class Departure:
    """The end of one connection, as far as it is ours to choose. close: closes it, unless it is closed."""

    __slots__ = ("_close", "_stage", "_streams", "_timer", "last_stream")

    def __init__(self, streams: Streams, close: Callable[[], None]) -> None:
        self._streams = streams
        self._close = close
        self._stage = Stage.STAYING
        self._timer: asyncio.TimerHandle | None = None
        self.last_stream: int | None = None  # once no more are taken

    def begin(self, *, wait_for_idle: bool) -> None:
        """Tell the client to open no more streams here; wait_for_idle: not in the middle of others, if possible."""
        if self._stage is Stage.STAYING and wait_for_idle and self._streams.open:
            self._stage = Stage.WAITING
            self._after(GOAWAY_IDLE_WAIT_S, self._announce)
        elif self._stage is Stage.STAYING or (self._stage is Stage.WAITING and not wait_for_idle):
            self._announce()

    def client_leaves(self) -> None:
        """The client said GOAWAY: it opens no more streams."""
        if self._stage is not Stage.LEAVING:
            self._leave()

    def idle(self) -> None:
        """No stream is open."""
        if self._stage is Stage.WAITING:
            self._announce()
        elif self._stage is Stage.LEAVING:
            # Not within the frame that ended the stream: what is read along with it is still to be handled.
            self._after(0, self._close_if_idle)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _after(self, delay: float, what: Callable[[], None]) -> None:
        self.stop()
        self._timer = self._streams.service.loop.call_later(delay, what)

    def _announce(self) -> None:
        self._stage = Stage.ANNOUNCED
        self._streams.output.write(goaway(LAST_STREAM_ID, NO_ERROR))
        self._after(GOAWAY_GRACE_S, self._leave)

    def _leave(self) -> None:
        self._stage = Stage.LEAVING
        streams = self._streams
        self.last_stream = streams.highest
        streams.output.write(goaway(streams.highest, NO_ERROR))
        self._after(0, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if not self._streams.open:
            self._close()
