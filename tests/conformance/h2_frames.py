"""A client of HTTP/2 that sends what it is told to, frame by frame, right or wrong."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import hpack
from lane_server import Served

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 1, 1, 4, 8, 0x20
NO_ERROR, PROTOCOL, INTERNAL, FLOW_CONTROL, _, CLOSED, FRAME_SIZE, REFUSED, CANCEL, COMPRESSION, _, CALM = range(12)

Pairs = list[tuple[str, str]]


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def block(*pairs: tuple[str, str]) -> bytes:
    """A header block that leaves no trace in any table, so that its place among others does not matter."""
    encoded = b""
    for name, value in pairs:
        encoded += b"\x00" + _text(name) + _text(value)
    return encoded


def _text(text: str) -> bytes:
    data = text.encode("latin1")
    if len(data) < 127:
        return bytes((len(data),)) + data
    rest, size = bytearray((127,)), len(data) - 127
    while size >= 128:
        rest.append(size & 127 | 128)
        size >>= 7
    rest.append(size)
    return bytes(rest) + data


def request(path: str = "/text", method: str = "GET", *more: tuple[str, str]) -> bytes:
    return block((":method", method), (":scheme", "http"), (":path", path), (":authority", "a"), *more)


def get(stream: int = 1, path: str = "/text", *more: tuple[str, str]) -> bytes:
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, request(path, "GET", *more))


def post(stream: int = 1, *more: tuple[str, str], path: str = "/text") -> bytes:
    return frame(HEADERS, END_HEADERS, stream, request(path, "POST", *more))


def number(value: int) -> bytes:
    return struct.pack(">L", value)


def setting(identifier: int, value: int) -> bytes:
    return struct.pack(">HL", identifier, value)


@dataclass
class Answer:
    """What came on one stream."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    informational: list[list[tuple[bytes, bytes]]] = field(default_factory=list)
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] | None = None
    ended: bool = False
    reset: int | None = None


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._unread = b""
        self._decoder = hpack.Decoder()
        self._block = b""
        self.answers: defaultdict[int, Answer] = defaultdict(Answer)
        self.settings: dict[int, int] = {}
        self.pongs: list[bytes] = []
        self.goaways: list[tuple[int, int]] = []
        self.updates: dict[int, int] = {}
        self.promised: dict[int, list[tuple[bytes, bytes]]] = {}
        self.closed = False
        self.acks = 0

    @classmethod
    async def connect(cls, server: Served, first: bytes = PREFACE + frame(SETTINGS), **kwargs: Any) -> Client:
        client = cls(*await server.connect(**kwargs))
        client.send(first)
        return client

    def send(self, *frames: bytes) -> None:
        self._writer.write(b"".join(frames))

    def eof(self) -> None:
        self._writer.write_eof()

    def abort(self) -> None:
        self._writer.transport.abort()

    def pause(self) -> None:
        self._reader._transport.pause_reading()  # type: ignore[attr-defined]

    async def read(self, timeout_s: float = 5.0) -> bool:
        """Read once. False at the end of the connection."""
        try:
            data = await asyncio.wait_for(self._reader.read(1 << 16), timeout_s)
        except ConnectionError:
            data = b""
        if not data:
            self.closed = True
            return False
        self.feed(data)
        return True

    def feed(self, data: bytes) -> None:
        self._unread += data
        while len(self._unread) >= 9:
            end = 9 + int.from_bytes(self._unread[:3], "big")
            if len(self._unread) < end:
                break
            one, self._unread = self._unread[:end], self._unread[end:]
            self._take(one[3], one[4], int.from_bytes(one[5:9], "big"), one[9:])

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        answer = self.answers[stream] if stream else Answer()
        if kind in (HEADERS, CONTINUATION, PUSH_PROMISE):
            self._block += payload
            if kind == PUSH_PROMISE:
                promised = int.from_bytes(self._block[:4], "big")
                self.promised[promised] = self._decoder.decode(self._block[4:], raw=True)  # type: ignore[assignment]
                self._block = b""
            elif flags & END_HEADERS:
                fields = [(bytes(name), bytes(value)) for name, value in self._decoder.decode(self._block, raw=True)]
                self._block = b""
                if fields[0][0] != b":status":
                    answer.trailers = fields
                elif int(fields[0][1]) < 200:
                    answer.informational.append(fields)
                else:
                    answer.status, answer.headers = int(fields[0][1]), fields[1:]
        elif kind == DATA:
            answer.body += payload
        elif kind == RST_STREAM:
            answer.reset = int.from_bytes(payload, "big")
        elif kind == SETTINGS:
            if flags & ACK:
                self.acks += 1
            else:
                self.settings.update(struct.iter_unpack(">HL", payload))  # type: ignore[arg-type]
        elif kind == PING:
            if flags & ACK:
                self.pongs.append(payload)
        elif kind == GOAWAY:
            self.goaways.append(struct.unpack(">LL", payload[:8]))  # type: ignore[arg-type]
        elif kind == WINDOW_UPDATE:
            self.updates[stream] = self.updates.get(stream, 0) + int.from_bytes(payload, "big")
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            answer.ended = True

    async def until(self, condition: Any, timeout_s: float = 5.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition() and await self.read(timeout_s):
                pass

    async def answer(self, stream: int = 1, timeout_s: float = 5.0) -> Answer:
        """Read until the stream has ended, either way, or the connection has."""
        answer = self.answers[stream]
        await self.until(lambda: answer.ended or answer.reset is not None, timeout_s)
        return answer

    async def outcome(self) -> str:
        """What became of what was sent: "goaway N", "reset N", "closed" or "open"."""
        with contextlib.suppress(ConnectionError):
            self.send(frame(PING, 0, 0, b"outcome!"))
        await self.until(lambda: b"outcome!" in self.pongs)
        if self.goaways and self.goaways[-1][1]:
            return f"goaway {self.goaways[-1][1]}"
        if self.closed:
            return "closed"
        for answer in self.answers.values():
            if answer.reset:
                return f"reset {answer.reset}"
        return "open"
