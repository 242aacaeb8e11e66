"""permessage-deflate (RFC 7692): what is agreed on, and the two halves of it.

Offers are read strictly and taken as Hypercorn (wsproto) would take them; the first that can be is. What is inflated
at once is bounded, and so is what one message may come to: the reader says how much room there is.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from typing import NamedTuple

INFLATE_STEP = 1 << 18
"""Bytes that are inflated before the reader looks at the time again."""

STREAM_ENDS_MAX = 16
"""How often one message may end its DEFLATE stream (BFINAL): each end costs a new decompressor."""

DEFLATE_MAX = 1 << 20
"""Messages longer than this are sent as they are: compressing them would hold the event loop."""

WINDOW = 1 << 15

_OUR_BITS, _OUR_MEMORY = 12, 5
"""Of the compressor: 32 KiB for a connection instead of 256. Any client can read a smaller window than it allows."""

_TOKEN = r"[-!#$%&'*+.^_`|~0-9A-Za-z]+"
_PARAMETER = re.compile(rf'\s*;\s*({_TOKEN})(?:\s*=\s*(?:({_TOKEN})|"({_TOKEN})"))?')
_NAME = re.compile(rf"\s*({_TOKEN})")
_BITS = re.compile("9|1[0-5]")


class Agreement(NamedTuple):
    """What both sides keep to."""

    client_no_context_takeover: bool
    server_no_context_takeover: bool
    client_bits: int | None  # None: not spoken of, which is 15
    server_bits: int | None

    def header(self) -> bytes:
        """Return the value of the response's Sec-WebSocket-Extensions."""
        parts = ["permessage-deflate"]
        if self.client_no_context_takeover:
            parts.append("client_no_context_takeover")
        if self.server_no_context_takeover:
            parts.append("server_no_context_takeover")
        if self.client_bits is not None:
            parts.append(f"client_max_window_bits={self.client_bits}")
        if self.server_bits is not None:
            parts.append(f"server_max_window_bits={self.server_bits}")
        return "; ".join(parts).encode()


def agree(values: Iterable[bytes]) -> Agreement | None:
    """Return what the offers in the Sec-WebSocket-Extensions fields come to; None where none can be taken."""
    text = ", ".join(value.decode("latin1") for value in values)
    at = 0
    while True:
        match = _NAME.match(text, at)
        if match is None:
            return None
        name, at = match[1], match.end()
        parameters: list[tuple[str, str | None]] = []
        while match := _PARAMETER.match(text, at):
            parameters.append((match[1], match[2] or match[3]))
            at = match.end()
        if name == "permessage-deflate" and (agreement := _accept(parameters)) is not None:
            return agreement
        rest = text[at:].lstrip()
        if rest[:1] != ",":
            return None  # the end, or nothing that could be read any further
        at = len(text) - len(rest) + 1


def _accept(parameters: list[tuple[str, str | None]]) -> Agreement | None:
    given = dict(parameters)
    if len(given) != len(parameters):
        return None
    no_context = []
    for name in ("client_no_context_takeover", "server_no_context_takeover"):
        no_context.append(name in given)
        if given.pop(name, None) is not None:
            return None
    bits: list[int | None] = []
    for name in ("client_max_window_bits", "server_max_window_bits"):
        if name not in given:
            bits.append(None)
            continue
        value = given.pop(name)
        if value is None and name.startswith("client"):
            value = "15"  # it can, and leaves it to us
        if value is None or not _BITS.fullmatch(value):
            return None  # 8 is legal, but zlib cannot
        bits.append(int(value))
    return None if given else Agreement(no_context[0], no_context[1], bits[0], bits[1])


class Inflater:
    """Inflates one client's messages."""

    __slots__ = ("_bits", "_ends", "_keeps", "_recent", "_zlib")

    TRAILER = b"\x00\x00\xff\xff"  # what a sender leaves away at the end of a message

    def __init__(self, agreement: Agreement) -> None:
        self._bits = -(agreement.client_bits or 15)
        self._keeps = not agreement.client_no_context_takeover
        self._zlib: zlib._Decompress | None = None
        self._ends = 0
        self._recent = b""

    def inflate(self, data: bytes, room: int) -> tuple[bytes, bytes]:
        """Return (some bytes, what of `data` is still to be inflated). Raises ValueError where it is not DEFLATE.

        room: how many bytes may come, above 0; one more than allowed tells that it is too much.
        """
        inflater = self._zlib
        if inflater is None:
            inflater = self._zlib = zlib.decompressobj(self._bits)
        try:
            piece = inflater.decompress(data, min(room, INFLATE_STEP))
        except zlib.error as error:
            raise ValueError(str(error)) from None
        if not inflater.eof:
            return piece, inflater.unconsumed_tail
        # The sender ended its stream, which it may; what follows refers to what came before all the same.
        self._ends += 1
        if self._ends > STREAM_ENDS_MAX:
            raise ValueError("too many ends")
        rest = inflater.unused_data
        self._recent = (self._recent + piece)[-WINDOW:]
        self._zlib = zlib.decompressobj(self._bits, zdict=self._recent) if self._keeps else None
        return piece, rest

    def end_message(self) -> None:
        self._ends = 0
        self._recent = b""
        if not self._keeps:
            self._zlib = None


class Deflater:
    """Compresses the messages to one client."""

    __slots__ = ("_bits", "_keeps", "_zlib")

    def __init__(self, agreement: Agreement) -> None:
        self._bits = -min(agreement.server_bits or 15, _OUR_BITS)
        self._keeps = not agreement.server_no_context_takeover
        self._zlib: zlib._Compress | None = None

    def deflate(self, data: bytes) -> bytes:
        compressor = self._zlib
        if compressor is None:
            compressor = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, self._bits, _OUR_MEMORY)
            if self._keeps:
                self._zlib = compressor
        return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
