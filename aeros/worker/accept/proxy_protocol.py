"""The PROXY protocol, versions 1 and 2: a balancer's word, ahead of all else, on whose connection it passes on.

Written from HAProxy's specification. The header is read from the bare socket before TLS or HTTP see it, to the byte. A
peer that may send one must: guessing would let whoever gets through to such a peer write the header instead.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .peers import Peers

DEADLINE_S = 3.0
"""How long a peer may take over its header. It is sent with the connection; 3 s are for a lost segment (the spec)."""

V1_MAX = 107
"""Bytes of the longest line of version 1, its end included."""

V2_MAX = 4096
"""Bytes that may follow the first 16 of version 2: addresses need at most 216, the rest are type-length-values."""

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"

_FAMILIES = {0x11: (4, ipaddress.IPv4Address), 0x21: (16, ipaddress.IPv6Address)}  # TCP over IPv4, over IPv6
_UNSPECIFIED = {0x00, 0x12, 0x22, 0x31, 0x32}  # also what no TCP client has: datagrams, Unix sockets


class HeaderRefused(Exception):  # noqa: N818 - reads as the fact it is
    """The bytes are no header of the PROXY protocol."""


class Announced(NamedTuple):
    """The connection the balancer accepted: who its client is, and what that client connected to."""

    client: tuple[str, int]
    server: tuple[str, int]


def read_v1(line: bytes) -> Announced | None:
    """Return what a line of version 1 says, CRLF included; None for UNKNOWN. Raises HeaderRefused."""
    if len(line) > V1_MAX or not line.endswith(b"\r\n") or not line.isascii():
        raise HeaderRefused("not a line of at most 107 ASCII bytes")
    words = line[:-2].decode().split(" ")
    if words[:2] == ["PROXY", "UNKNOWN"]:
        return None  # whatever follows is to be ignored
    if len(words) != 6 or words[0] != "PROXY" or words[1] not in ("TCP4", "TCP6"):
        raise HeaderRefused("not PROXY, TCP4 or TCP6, two addresses and two ports")
    kind = ipaddress.IPv4Address if words[1] == "TCP4" else ipaddress.IPv6Address
    try:
        source, target = str(kind(words[2])), str(kind(words[3]))
    except ValueError as error:
        raise HeaderRefused("an address is none") from error
    if "%" in source + target:
        raise HeaderRefused("an address has a zone")
    return Announced((source, _port(words[4])), (target, _port(words[5])))


def v2_length(start: bytes) -> int:
    """Return how many bytes follow the first 16 of a header of version 2. Raises HeaderRefused."""
    if start[:12] != SIGNATURE or start[12] not in (0x20, 0x21):
        raise HeaderRefused("not version 2 with the command LOCAL or PROXY")
    length = int.from_bytes(start[14:16], "big")
    if length > V2_MAX:
        raise HeaderRefused(f"{length} bytes long")
    return length


def read_v2(start: bytes, rest: bytes) -> Announced | None:
    """Return what a header of version 2 says: its first 16 bytes, and the rest.

    None for LOCAL (the balancer's own, such as its health checks) and where the client has no address. Raises
    HeaderRefused.
    """
    if v2_length(start) != len(rest):
        raise HeaderRefused("cut short")
    command, family = start[12], start[13]
    if command == 0x20:
        return None
    if family not in _FAMILIES:
        if family in _UNSPECIFIED:
            return None
        raise HeaderRefused(f"unknown family {family:#04x}")
    size, kind = _FAMILIES[family]
    if len(rest) < 2 * size + 4:
        raise HeaderRefused("too short for its addresses")
    source, target = str(kind(rest[:size])), str(kind(rest[size : 2 * size]))
    source_port, target_port = struct.unpack_from("!HH", rest, 2 * size)
    return Announced((source, source_port), (target, target_port))


class ProxyHeaders:
    """Reads the header of each connection that comes from one of the allowed peers."""

    __slots__ = ("_loop", "_on_refused", "_peers")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, allowed: Sequence[str], on_refused: Callable[[str], None]
    ) -> None:
        """allowed: see Peers. on_refused: told, in a sentence for the log, of what was no header."""
        self._loop = loop
        self._on_refused = on_refused
        self._peers = Peers(allowed)

    def expected(self, connection: socket.socket) -> bool:
        """Tell whether the peer is one that sends headers. Raises OSError if it is gone already."""
        inet = connection.family in (socket.AF_INET, socket.AF_INET6)
        return self._peers.include(connection.getpeername()[0] if inet else None)

    async def read(self, connection: socket.socket) -> Announced | None:
        """Take the header off a connection. Raises OSError or TimeoutError where that is over before it began."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await self._read(connection)
        except HeaderRefused as error:
            reason = str(error)
        except TimeoutError:
            reason = f"it did not come within {DEADLINE_S:g} s"
        self._on_refused(f"closed a connection without a PROXY header, which --proxy-protocol asks for: {reason}")
        raise ConnectionAbortedError(reason)

    async def _read(self, connection: socket.socket) -> Announced | None:
        start = await self._exactly(connection, 12)
        if start == SIGNATURE:
            start += await self._exactly(connection, 4)
            return read_v2(start, await self._exactly(connection, v2_length(start)))
        if not start.startswith(b"PROXY "):
            raise HeaderRefused(f"it begins with {start!r}")
        line = bytearray(start)
        while not line.endswith(b"\n"):
            if len(line) >= V1_MAX:
                raise HeaderRefused("a line without an end")
            # Look first: what stands behind the line end belongs to TLS or HTTP.
            ahead = await self._receive(connection, V1_MAX - len(line), socket.MSG_PEEK)
            end = ahead.find(b"\n") + 1
            line += await self._receive(connection, end or len(ahead))
        return read_v1(bytes(line))

    async def _exactly(self, connection: socket.socket, count: int) -> bytes:
        data = b""
        while len(data) < count:
            data += await self._receive(connection, count - len(data))
        return data

    async def _receive(self, connection: socket.socket, count: int, flags: int = 0) -> bytes:
        """Return at least one byte, at most `count`. Raises ConnectionError at the end of the stream."""
        while True:
            try:
                data = connection.recv(count, flags)
            except (BlockingIOError, InterruptedError):
                await self._readable(connection)
                continue
            if not data:
                raise ConnectionResetError("ended within its PROXY header")
            return data

    async def _readable(self, connection: socket.socket) -> None:
        ready = asyncio.Event()
        self._loop.add_reader(connection.fileno(), ready.set)
        try:
            await ready.wait()
        finally:
            self._loop.remove_reader(connection.fileno())


def _port(text: str) -> int:
    if not (1 <= len(text) <= 5 and text.isdecimal() and int(text) < 65536) or (text[0] == "0" and text != "0"):
        raise HeaderRefused("a port is none")
    return int(text)
