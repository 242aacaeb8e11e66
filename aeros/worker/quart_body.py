"""The request body of a Quart app in the lane."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

from quart.wrappers.request import Body
from werkzeug.exceptions import RequestEntityTooLarge

from .exchange import Carrier
from .landing import Room


class _LazyEvent:
    """An asyncio.Event that comes to be when it is first looked at, set if the body has ended by then."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, body: Any, owner: type) -> Any:
        if body is None:
            return self
        event = body.__dict__[self._name] = asyncio.Event()
        if body._ended:
            event.set()
        return event


class LaneBody(Body):
    """Quart's request body, which also tells the connection when the handler wants more of it.

    While nobody reads, or somebody iterates slower than the client sends, reading from the client stops at
    READ_AHEAD bytes. Awaiting the whole body takes that limit away: then MAX_CONTENT_LENGTH is the bound, as in Quart.

    Quart's puts each piece behind the others in a bytearray and copies that for the app. Here the pieces are kept as
    they come, and joined when they are asked for; one alone is given to the app as it is.
    """

    # Body.__init__ makes these two; here they are made when somebody waits, which for most requests is never.
    _complete: asyncio.Event = _LazyEvent()  # type: ignore[assignment]
    _has_data: asyncio.Event = _LazyEvent()  # type: ignore[assignment]

    def __init__(self, carrier: Carrier, expected: int | None, maximum: int | None) -> None:
        self._pieces: list[bytes] = []
        self._size = 0  # of what waits for the app, in pieces or in the room
        self._room: Room | None = None
        self._max_content_length = maximum
        self._must_raise = None
        if expected is not None and maximum is not None and expected > maximum:
            self._must_raise = RequestEntityTooLarge()
        self._carrier = carrier
        self._wanted_whole = False
        self._ended = False

    # The app's side

    async def __anext__(self) -> bytes:
        if not self._size:
            self._carrier.resume_reading()
        if self._must_raise is not None:
            raise self._must_raise
        if not self._ended and not self._size:
            await self._has_data.wait()
        if self._ended and not self._size:
            raise StopAsyncIteration
        data = self._take()
        if "_has_data" in self.__dict__:
            self._has_data.clear()
        self._carrier.resume_reading()
        return data

    def __await__(self) -> Generator[Any, None, Any]:
        self._wanted_whole = True
        self._carrier.resume_reading()
        if self._must_raise is not None:
            raise self._must_raise
        if not self._ended:
            yield from self._complete.wait().__await__()
            if self._must_raise is not None:  # by now
                raise self._must_raise
        data = self._take()
        self._pieces.append(data)  # it may be awaited again
        self._size = len(data)
        return data

    def clear(self) -> None:
        self._take()

    def _take(self) -> bytes:
        """Return all that has come, and keep nothing of it."""
        self._size = 0
        if self._room is not None:
            data = self._room.take()
            if self._ended:
                self._room = None
            return data
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return data

    # The connection's side

    def append(self, data: bytes) -> None:
        if not data or self._must_raise is not None:
            return
        self._pieces.append(data)
        self._size += len(data)
        self._wake_iteration()
        if self._max_content_length is not None and self._size > self._max_content_length:
            self._must_raise = RequestEntityTooLarge()
            self.set_complete()

    def set_complete(self) -> None:
        self._ended = True
        if "_complete" in self.__dict__:
            self._complete.set()
        self._wake_iteration()

    def _wake_iteration(self) -> None:
        if "_has_data" in self.__dict__:
            self._has_data.set()

    def buffered(self) -> int:
        # After an error Quart's Body drops what comes; the client may go on sending it.
        return 0 if self._wanted_whole or self._must_raise is not None else self._size

    def room(self, left: int) -> Room | None:
        """Return where the `left` bytes to come are best read to, None for `append`. From then on see `landed`."""
        if not self._wanted_whole or self._ended or self._must_raise is not None or self._room is not None:
            return None
        if self._max_content_length is not None and self._size + left > self._max_content_length:
            return None
        self._room = Room(self._pieces, left)
        self._pieces.clear()
        return self._room

    def landed(self, count: int) -> None:
        """So many bytes were read into the room."""
        self._size += count
        self._wake_iteration()
