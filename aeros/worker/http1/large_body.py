"""Large request bodies, read from the socket straight to where they stay.

A read of the loop's own lands in a buffer of the loop, becomes a bytes object, is put behind the ones before, and the
whole is copied once more when the app wants it: for a megabyte these copies cost more than everything else of the
request. Here the kernel writes into the object that the app gets. Worth it, and done, only for the rest of a counted
body whose app awaits the whole of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from io import BytesIO

LANDING_MIN = 1 << 16
"""Bytes still to come from which on the change of the transport's protocol, some microseconds, pays."""

AHEAD = 8
"""Room is made for so many times what has come: a length that was announced costs nothing until bytes follow."""

GROWTH_MAX = 1 << 21
"""Bytes that room grows by at once at most. All of it is memory from then on: BytesIO writes zeros to it."""


class Room:
    """Room for what is left of a body whose length is known."""

    __slots__ = ("_filled", "_left", "_made", "_room")

    def __init__(self, begun: Iterable[bytes | bytearray], left: int) -> None:
        """begun: what came before. left: bytes that are to come."""
        self._left = left
        self._make(list(begun))

    def _make(self, begun: list[bytes | bytearray]) -> None:
        filled = sum(map(len, begun))
        size = filled + min(self._left, max(filled * (AHEAD - 1), LANDING_MIN), GROWTH_MAX)
        # A BytesIO hands out the bytes object it has written to, without a copy, if nobody else has it: neither do we.
        self._room = BytesIO(bytes(size))
        self._room.writelines(begun)
        self._filled, self._made = filled, size

    @property
    def made(self) -> int:
        """How many bytes of memory it takes."""
        return self._made

    def free(self) -> memoryview:
        """Return where to read to. It must be let go before anything else is asked here."""
        if self._filled == self._made and self._left:
            self._made += min(self._left, max(self._made * (AHEAD - 1), LANDING_MIN), GROWTH_MAX)
            self._room.seek(self._made - 1)
            self._room.write(b"\0")
        # Do not keep the view: a BytesIO cannot be resized or collected while one exists (BufferError).
        return self._room.getbuffer()[self._filled :]

    def fill(self, count: int) -> None:
        """So many bytes were read."""
        self._filled += count
        self._left -= count

    def take(self) -> bytes:
        """Return all that has come, and go on without it."""
        self._room.truncate(self._filled)
        data = self._room.getvalue()
        self._room, self._filled, self._made = BytesIO(), 0, 0
        return data


class BodyReader(asyncio.BufferedProtocol):
    """Stands in for a connection with its transport while a body is read."""

    __slots__ = ("_connection", "_landed", "_room")

    def __init__(self, connection: asyncio.Protocol, room: Room, landed: Callable[[int], None]) -> None:
        """landed: told how many bytes were read, as many as are left at most."""
        self._connection = connection
        self._room = room
        self._landed = landed

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._room.free()

    def buffer_updated(self, nbytes: int) -> None:
        self._room.fill(nbytes)
        self._landed(nbytes)

    def eof_received(self) -> bool | None:
        return self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()
