"""Files that a Quart app answers with, read in as few trips to a thread as possible.

Quart's FileBody makes a trip each to open the file, to seek, to learn where it is, to read 8 KiB and to close: eight
for a file of 10 KiB, which cost more than all the rest of the request. Here one trip does what can be done in one.
"""

from __future__ import annotations

import asyncio
from io import FileIO

import quart.wrappers.response
from quart.wrappers.response import FileBody

PIECE = 1 << 16
"""Bytes read at a time, if the body does not ask for more."""


def files_are_known() -> bool:
    """Tell whether FileBody is read as Quart does it: tracing tools replace methods."""
    methods = (FileBody.__aenter__, FileBody.__aiter__, FileBody.__anext__, FileBody.__aexit__)
    path = quart.wrappers.response.__file__
    return all(getattr(getattr(method, "__code__", None), "co_filename", None) == path for method in methods)


class FileReader:
    """Reads what a FileBody is to send. To be closed in the end."""

    __slots__ = ("_at", "_end", "_file", "_loop", "_path", "_piece", "_trip", "done")

    def __init__(self, body: FileBody, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._path = body.file_path
        self._at = body.begin
        self._end = body.end
        self._piece = max(body.buffer_size, PIECE)
        self._file: FileIO | None = None
        self._trip: asyncio.Future[bytes] | None = None
        self.done = False

    async def read(self) -> bytes:
        """Return the next piece; `done` tells whether it was the last. Raises OSError."""
        self._trip = self._loop.run_in_executor(None, self._read)  # where Quart's trips go as well
        # A thread cannot be stopped: who gives up must know when it is through, see `close`.
        data = await asyncio.shield(self._trip)
        self._trip = None
        return data

    def _read(self) -> bytes:
        file = self._file
        if file is None:
            file = self._file = FileIO(self._path)
            if self._at:
                file.seek(self._at)
        data = file.read(min(self._piece, self._end - self._at))
        self._at += len(data)
        if not data or self._at >= self._end:
            self.done = True
            file.close()
        return data

    def close(self, trip: asyncio.Future[bytes] | None = None) -> None:
        """Close the file, once no thread reads it."""
        if self._trip is not None and not self._trip.done():
            self._trip.add_done_callback(self.close)
        elif self._file is not None:
            self._file.close()
