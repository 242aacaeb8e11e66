"""Chunked bodies of HTTP/1.1 (RFC 9112, section 7.1), decoded strictly and a bounded piece at a time.

A chunk can be one byte long, so that a loop in Python over all chunks would take ten times what a parser in C takes.
Here one compiled pattern finds how far small chunks go in a row, and llhttp, which is given nothing else, takes them
apart. It does not get the whole body: httptools does not tell at which byte one ended, and its grammar is not ours.
"""

from __future__ import annotations

import re
from functools import cache

import httptools

from .parser import RequestRefused

MAX_CHUNK_LINE = 4096
"""Bytes of one chunk-size line with its extensions; longer is an error (as nothing sane sends any extension)."""

MAX_CHUNK = (1 << 63) - 1
"""Larger sizes are negative to who keeps them in 64 bits."""

EXTENSIONS_MAX = 8192
"""Bytes by which chunk-size lines with extensions may outweigh their chunks, over a body. Puma and Go bound it too."""

WORK_MAX = 1 << 15
"""How much one call of `feed` does, in bytes of small chunks: about a millisecond."""

LINE_WORK = 32
"""A chunk that is decoded by itself counts as so many bytes of small chunks; it takes as long."""

RUN_MIN = 512
"""Bytes that must be at hand before it pays to look for small chunks in a row."""

SMALL = 128
"""Chunks of fewer bytes are looked for in a row."""

RUN_POOR = 64
"""Fewer bytes in a row than this, and the next RUN_MIN bytes are not tried again."""

_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(;[\t\x20-\x7e\x80-\xff]*)?\r\n")
#: As many whole fields as there are, and the end if it follows.
_TRAILERS = re.compile(rb"(?:[-!#$%&'*+.^_`|~0-9a-zA-Z]+:[\t\x20-\x7e\x80-\xff]*\r\n)*(\r\n)?")
_HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@cache
def _small_chunks() -> re.Pattern[bytes]:
    """Return what matches small chunks (1 to 127 bytes, no extensions) in a row, made when first needed: 5 ms.

    A pattern cannot count, so each size is an alternative, found by its first digit and then by its second. Not
    possessive: CPython before 3.11.5 gets groups with alternatives wrong then.
    """

    def chunk(size: int) -> bytes:
        return rb"\r\n.{%d}" % size

    def digit(number: int) -> bytes:
        text = b"%x" % number
        return text if text.isdigit() else b"[%b%b]" % (text, text.upper())

    firsts = []
    for first in range(1, 16):
        longer = [digit(second) + chunk(first * 16 + second) for second in range(16) if first < 8]
        firsts.append(digit(first) + b"(?:" + b"|".join([chunk(first), *longer]) + b")")
    return re.compile(rb"(?:0{0,14}(?:" + b"|".join(firsts) + rb")\r\n)+", re.DOTALL)


class _Small:
    """llhttp, made to believe that it reads one endless body."""

    __slots__ = ("_parser", "on_body", "pieces")

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.on_body = self.pieces.append  # which httptools looks up and calls
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(_HEAD)

    def decode(self, run: bytes) -> bytes:
        """Return the data of whole chunks, none of them the last one."""
        self._parser.feed_data(run)
        data = b"".join(self.pieces)
        self.pieces.clear()
        return data


class ChunkedReader:
    """Decodes one chunked request body, byte by byte if need be, and knows where it ends.

    limit: bytes all trailer fields may take together. Trailers are checked and dropped, as Hypercorn drops them.
    """

    __slots__ = (
        "_excess",
        "_limit",
        "_need_crlf",
        "_pending",
        "_remaining",
        "_small",
        "_trailer_size",
        "_trailers",
        "complete",
    )

    def __init__(self, limit: int) -> None:
        self.complete = False
        self._limit = limit
        self._pending = b""  # the beginning of a line, or of the CRLF behind a chunk
        self._remaining = 0  # of the chunk under way
        self._need_crlf = False  # it is complete but for its CRLF
        self._trailers = False  # the last chunk has come
        self._trailer_size = 0
        self._excess = 0  # see EXTENSIONS_MAX
        self._small: _Small | None = None

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Return (body bytes decoded, the bytes behind them that were not looked at). Raises RequestRefused.

        The second is what stands behind the end of the body when `complete` is true. Else it is what this call had
        no time for, to be fed again before anything else. What is left of an unfinished line is kept here.
        """
        if self._pending:
            data = self._pending + data
            self._pending = b""
        pieces: list[bytes] = []
        position, size = 0, len(data)
        work = tried = 0
        while position < size and work < WORK_MAX and not self.complete:
            if self._remaining or self._need_crlf:
                position = self._rest_of_chunk(data, position, pieces)
            elif self._trailers:
                position = self._read_trailers(data, position)
            elif size - position >= RUN_MIN and position >= tried and (end := self._run(data, position, work, pieces)):
                if end - position < RUN_POOR:
                    tried = end + RUN_MIN
                work += end - position
                position = end
            else:
                before = len(pieces)
                tried = max(tried, position + 1)
                position = self._whole_chunks(data, position, tried, pieces)
                if position < size:
                    position = self._start_chunk(data, position)
                work += LINE_WORK * (len(pieces) - before + 1)
            if self._pending:
                position = size
        return (pieces[0] if len(pieces) == 1 else b"".join(pieces)), data[position:]

    def _run(self, data: bytes, position: int, work: int, pieces: list[bytes]) -> int:
        """Decode the small chunks that stand here in a row; return where they end, 0 for none."""
        found = _small_chunks().match(data, position, position + WORK_MAX - work)
        if found is None:
            return 0
        if self._small is None:
            self._small = _Small()
        pieces.append(self._small.decode(found[0]))
        return found.end()

    def _whole_chunks(self, data: bytes, position: int, until: int, pieces: list[bytes]) -> int:
        """Decode plain chunks one by one, in a loop on locals; return where something else stands.

        until: from here on small ones may stand in a row again.
        """
        match, keep = _LINE.match, pieces.append
        for _ in range(WORK_MAX // LINE_WORK):
            found = match(data, position)
            if found is None or found.lastindex != 1:
                break
            end = found.end()
            behind = end + int(found[1], 16)
            if data[behind : behind + 2] != b"\r\n" or behind == end:
                break
            keep(data[end:behind])
            position = behind + 2
            if behind - end < SMALL and position >= until:
                break
        return position

    def _rest_of_chunk(self, data: bytes, position: int, pieces: list[bytes]) -> int:
        if self._remaining:
            piece = data[position : position + self._remaining]
            pieces.append(piece)
            self._remaining -= len(piece)
            self._need_crlf = not self._remaining
            return position + len(piece)
        end = data[position : position + 2]
        if end == b"\r\n":
            self._need_crlf = False
        elif end == b"\r":
            self._pending = end
        else:
            raise RequestRefused(400, "malformed chunk end")
        return position + len(end)

    def _start_chunk(self, data: bytes, position: int) -> int:
        """Read a line that begins a chunk; return where the chunk begins."""
        match = _LINE.match(data, position)
        if match is None:
            if data.find(b"\n", position) >= 0:
                raise RequestRefused(400, "illegal chunk size")
            self._keep(data[position:], MAX_CHUNK_LINE, 400)
            return position
        end = match.end()
        size = int(match[1], 16)
        if size > MAX_CHUNK:
            raise RequestRefused(400, "illegal chunk size")
        if match[2] is not None:
            self._excess = max(0, self._excess + end - position - size)
            if self._excess > EXTENSIONS_MAX:
                raise RequestRefused(400, "more chunk extensions than body")
        self._remaining = size
        self._trailers = not size
        return end

    def _read_trailers(self, data: bytes, position: int) -> int:
        """Read what is there of the trailer fields, and the end of the body if it is; return where that was."""
        match = _TRAILERS.match(data, position)
        assert match is not None  # it matches nothing at all, too
        end = match.end()
        self.complete = match[1] is not None
        line_end = -1 if self.complete else data.find(b"\n", end)
        self._trailer_size += max(end - 2 * self.complete, line_end + 1) - position
        if self._trailer_size > self._limit:
            raise RequestRefused(431, "trailers too long")
        if line_end >= 0:
            raise RequestRefused(400, "illegal trailer")
        if not self.complete:
            self._keep(data[end:], self._limit, 431)
        return end

    def _keep(self, line: bytes, limit: int, status: int) -> None:
        if len(line) > limit:
            raise RequestRefused(status, "chunk line too long")
        self._pending = line
