"""A small client of HTTP/3 on aioquic: a connection that is kept, and requests on it, in turn or at once."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamDataReceived, StreamReset

from .http import Address

_TIMEOUT_S = 10.0
_CONTROL, _GOAWAY = 3, b"\x07"  # the server's first stream of its own; RFC 9114 section 7.2.6


class Answer:
    """What came for one request. done: set when it is whole."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Line(QuicConnectionProtocol):
    """One connection."""

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        self._http = H3Connection(self._quic)
        self._answers: dict[int, Answer] = {}
        self.ended = False
        #: The server asks for no more requests (GOAWAY). aioquic does not look at that.
        self.leaving = False

    async def ask(self, path: str, upload: bytes | None = None, headers: Iterable[tuple[str, str]] = ()) -> Answer:
        """Send a request and wait for its answer. OSError when there is none."""
        stream, answer = self.begin(path, upload, headers)
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await answer.done
        except TimeoutError:
            raise OSError(f"no answer on stream {stream} within {_TIMEOUT_S:g} s") from None
        return answer

    def begin(
        self, path: str, upload: bytes | None = None, headers: Iterable[tuple[str, str]] = (), *, ends: bool = True
    ) -> tuple[int, Answer]:
        """Send a request; return its stream, and what will come. ends: the upload is all."""
        if self.ended:
            raise OSError("the connection has ended")
        stream = self._quic.get_next_available_stream_id()
        answer = self._answers[stream] = Answer()
        method = "GET" if upload is None else "POST"
        head = [(":method", method), (":scheme", "https"), (":authority", "localhost"), (":path", path), *headers]
        pairs = [(name.encode(), value.encode()) for name, value in head]
        self._http.send_headers(stream, pairs, end_stream=upload is None)
        if upload is not None:
            self._http.send_data(stream, upload, ends)
        self.transmit()
        return stream, answer

    def end_with_trailers(self, stream: int) -> None:
        self._http.send_headers(stream, [(b"x-checksum", b"1")], end_stream=True)
        self.transmit()

    def reset(self, stream: int) -> None:
        """Want no answer any more."""
        self._quic.reset_stream(stream, 0x10C)  # H3_REQUEST_CANCELLED
        self._quic.stop_stream(stream, 0x10C)
        self.transmit()

    def quic_event_received(self, event: Any) -> None:
        if isinstance(event, ConnectionTerminated):
            self.ended = True
            for answer in self._answers.values():
                _fail(answer, f"the connection has ended: {event.error_code:#x} {event.reason_phrase}")
        elif isinstance(event, StreamDataReceived) and event.stream_id == _CONTROL and event.data[:1] == _GOAWAY:
            self.leaving = True
        elif isinstance(event, StreamReset) and event.stream_id in self._answers:
            _fail(self._answers[event.stream_id], f"the stream was reset: {event.error_code:#x}")
        for found in self._http.handle_event(event):
            answer = self._answers.get(getattr(found, "stream_id", -1))
            if answer is None:
                continue
            if isinstance(found, HeadersReceived):
                headers = {name.decode(): value.decode() for name, value in found.headers}
                answer.status, answer.headers = int(headers.pop(":status")), headers
            if isinstance(found, DataReceived):
                answer.body += found.data
            if isinstance(found, HeadersReceived | DataReceived) and found.stream_ended and not answer.done.done():
                answer.done.set_result(None)


def _fail(answer: Answer, why: str) -> None:
    if not answer.done.done():
        answer.done.set_exception(ConnectionError(why))
        answer.done.exception()  # nobody may be waiting


@asynccontextmanager
async def h3_line(address: Address) -> AsyncIterator[Line]:
    """Connect; OSError where that fails."""
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_NONE)
    async with asyncio.timeout(_TIMEOUT_S) as timeout:
        async with connect(*address, configuration=configuration, create_protocol=Line) as line:
            timeout.reschedule(None)
            yield line  # type: ignore[misc]


async def ask_many(address: Address, connections: int, requests: int, path: str = "/", pause_s: float = 0.0) -> Tally:
    """Ask so many requests on each of so many kept connections; connect anew where one has ended between requests."""
    tally = Tally()

    async def one() -> None:
        left = requests
        while left:
            try:
                async with h3_line(address) as line:
                    tally.connections += 1
                    while left and not line.ended:
                        left -= 1
                        answer = await line.ask(path)
                        tally.count(answer)
                        await asyncio.sleep(pause_s)
            except OSError as error:
                tally.failed.append(repr(error))
                left -= 1

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(one())
    return tally


async def obey(address: Address, until: asyncio.Future[Any], path: str = "/") -> Tally:
    """Ask on one connection until that is done; on a new one as soon as the server has sent GOAWAY."""
    tally = Tally()
    while not until.done():
        try:
            async with h3_line(address) as line:
                tally.connections += 1
                while not until.done() and not line.leaving:
                    tally.count(await line.ask(path))
        except OSError as error:
            tally.failed.append(repr(error))
    return tally


class Tally:
    def __init__(self) -> None:
        self.connections = self.served = 0
        self.failed: list[str] = []
        self.bodies: dict[bytes, int] = {}

    def count(self, answer: Answer) -> None:
        if answer.status == 200:
            self.served += 1
            text = bytes(answer.body)
            self.bodies[text] = self.bodies.get(text, 0) + 1
        else:
            self.failed.append(f"status {answer.status}")
