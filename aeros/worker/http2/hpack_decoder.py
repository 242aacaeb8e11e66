"""Header blocks of HTTP/2 as the client compressed them (RFC 7541), read back into fields."""

from __future__ import annotations

from functools import lru_cache

from hpack.exceptions import HPACKDecodingError
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

from .frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, ConnectionFault

Field = tuple[bytes, bytes]

TABLE_SIZE = 4096
"""Of the dynamic table, as RFC 7541 counts; the default, which is not changed by our SETTINGS."""

STATIC: tuple[Field, ...] = ((b"", b""), *((bytes(name), bytes(value)) for name, value in HeaderTable.STATIC_TABLE))

EXCESS_MAX = 1 << 16
"""Bytes by which the fields of a block may be too large, to be read for what they do to the table all the same.

A byte of a block can name an entry of the table: 16 KB can mean 64 MB of fields, and take 10 ms to read.
"""

UPDATES_MAX = 2
"""Size updates in a block: the smallest size there was since the last one, and the one from now on (section 4.2)."""

_STATIC_SIZE = len(STATIC) - 1
_FIELD_OVERHEAD = 32  # RFC 7541, section 4.1
_CACHED_MAX = 128
_INTEGER_MAX = 1 << 24

# Clients repeat themselves within a connection and among each other: names, paths, user agents.
_cached_huffman = lru_cache(2048)(decode_huffman)


class FieldsTooLargeError(Exception):
    """The fields of a block are larger together than is allowed. The block was read to its end all the same."""


class Decoder:
    """One connection's decoder. changes: how often its table has changed; while it is the same, so is a block."""

    __slots__ = ("_entries", "_limit", "_size", "changes")

    def __init__(self) -> None:
        self._entries: list[Field] = []  # the newest last
        self._size = 0
        self._limit = TABLE_SIZE
        self.changes = 0

    def decode(self, block: bytes, limit: int) -> list[Field]:
        """Return the fields of a block. limit: of their sizes together.

        Raises FieldsTooLargeError beyond the limit, ConnectionFault far beyond it and for what cannot be read.
        """
        try:
            return self._decode(block, limit)
        except (IndexError, HPACKDecodingError) as error:
            raise ConnectionFault(COMPRESSION_ERROR, "a header block that cannot be read") from error

    def _decode(self, block: bytes, limit: int) -> list[Field]:
        fields: list[Field] = []
        entries = self._entries
        total = position = updates = 0
        end = len(block)
        most = limit + EXCESS_MAX
        while position < end:
            if total > most:
                raise ConnectionFault(ENHANCE_YOUR_CALM, "fields far too large")
            first = block[position]
            if first & 0x80:
                index, position = _integer(block, position, 0x7F)
                if index > _STATIC_SIZE:
                    field = entries[_STATIC_SIZE - index]
                elif index:
                    field = STATIC[index]
                else:
                    raise ConnectionFault(COMPRESSION_ERROR, "the index 0")
            elif first & 0x60 == 0x20:
                if fields or total:
                    raise ConnectionFault(COMPRESSION_ERROR, "a size update behind the beginning of a block")
                updates += 1
                if updates > UPDATES_MAX:
                    raise ConnectionFault(COMPRESSION_ERROR, "more size updates than mean anything")
                size, position = _integer(block, position, 0x1F)
                if size > TABLE_SIZE:
                    raise ConnectionFault(COMPRESSION_ERROR, "a table larger than allowed")
                self._limit = size
                self._make_room(0)
                self.changes += 1
                continue
            else:
                mask = 0x3F if first & 0x40 else 0x0F
                index = first & mask
                if index < mask:
                    position += 1  # nearly always: a call saved for each field
                else:
                    index, position = _integer(block, position, mask)
                if not index:
                    name, position = _string(block, position)
                elif index > _STATIC_SIZE:
                    name = entries[_STATIC_SIZE - index][0]
                else:
                    name = STATIC[index][0]
                value, position = _string(block, position)
                field = (name, value)
                if first & 0x40:
                    self._add(field)
            total += len(field[0]) + len(field[1]) + _FIELD_OVERHEAD
            # Beyond the limit the rest is read for what it does to the table, and not kept.
            if total <= limit:
                fields.append(field)
        if total > limit:
            raise FieldsTooLargeError
        return fields

    def _add(self, field: Field) -> None:
        self.changes += 1
        size = len(field[0]) + len(field[1]) + _FIELD_OVERHEAD
        self._make_room(size)
        if size <= self._limit:
            self._entries.append(field)
            self._size += size

    def _make_room(self, size: int) -> None:
        entries = self._entries
        gone = 0
        while gone < len(entries) and self._size + size > self._limit:
            name, value = entries[gone]
            self._size -= len(name) + len(value) + _FIELD_OVERHEAD
            gone += 1
        if gone:
            del entries[:gone]


def _integer(block: bytes, position: int, mask: int) -> tuple[int, int]:
    """Return (number, position behind it); mask: of the bits it has in its first byte."""
    number = block[position] & mask
    position += 1
    if number < mask:
        return number, position
    shift = 0
    while True:
        byte = block[position]
        position += 1
        number += (byte & 0x7F) << shift
        if not byte & 0x80:
            break
        shift += 7
        if shift > 21:
            raise ConnectionFault(COMPRESSION_ERROR, "a number too long to be meant")
    if number > _INTEGER_MAX:
        raise ConnectionFault(COMPRESSION_ERROR, "a number too large to be meant")
    return number, position


def _string(block: bytes, position: int) -> tuple[bytes, int]:
    first = block[position]
    huffman = first & 0x80
    size = first & 0x7F
    if size < 0x7F:
        position += 1
    else:
        size, position = _integer(block, position, 0x7F)
    end = position + size
    text = block[position:end]
    if len(text) < size:
        raise ConnectionFault(COMPRESSION_ERROR, "a string that goes on behind its block")
    if huffman:
        text = _cached_huffman(text) if size <= _CACHED_MAX else decode_huffman(text)
    return text, end
