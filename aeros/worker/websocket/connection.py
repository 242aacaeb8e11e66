"""The fast lane's WebSockets: a connection from the client's handshake to its end, and what the app is told of it.

One object is the asyncio Protocol, the connection that drains and the app's `receive` and `send`. Frames are read by
FrameReader; messages wait for the app in a bounded queue, and when it is full, or a flood has taken its turn of the
loop, reading stops.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from enum import Enum
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

from hypercorn.utils import UnexpectedMessageError

from ...core.net.client_gone import is_of_gone, tell_gone
from ...core.request_id import enter_request
from ...core.shared import requests_table as shown
from ..debugging import copies
from ..http1.response import CHUNKED, ResponseError, error_response, has_no_body, response_head
from ..http1.slow_clients import SlowTaker
from ..lane.app_exit import exit_called
from ..lane.connections import ACCEPT_WAIT_S, CLOSE_CODES, CLOSE_WAIT_S
from ..lane.mount import mount
from ..lane.timers import Timers
from ..lane.waiters import Waiters, wait_among, wake
from .deflate import DEFLATE_MAX, Deflater, Inflater
from .frames import BINARY, CLOSE, PING, PONG, TEXT, FrameReader, close_code, close_payload, frame_head
from .frames import may_be_sent as code_may_be_sent
from .handshake import VERSION, Handshake

if TYPE_CHECKING:
    from ..lane.connections import Connection
    from ..lane.head import Head
    from ..lane.service import Peer, Service
    from ..report.requests_table import Request

READ_AHEAD = 1 << 16
"""Bytes of messages that wait for the app before reading pauses; what one read brought may come on top."""

MESSAGE_COST = 64
"""Bytes that a waiting message counts besides its own."""

FULL_READ = 1 << 16
"""After a read of so many bytes others have their turn: libuv would read 32 times 256 KiB in a row."""

PONGS_MAX = 32
"""Pings of one read that are all answered; of more only the last is, as RFC 6455 section 5.5.3 allows."""

LINGER_S = 2.0
"""How long what a client still sends is read and dropped after a close frame that it broke the protocol for."""

NORMAL = 1000
ABNORMAL = 1006
INTERNAL_ERROR = 1011


class State(Enum):
    CONNECTING = 1  # the app has not answered the handshake
    REJECTING = 2  # it is answering with a response of its own
    OPEN = 3
    CLOSING = 4  # we have sent a close frame, or all of another response
    CLOSED = 5


CONNECTING, REJECTING, OPEN, CLOSING, CLOSED = State


class WebSocketConnection(asyncio.Protocol):
    """One WebSocket over HTTP/1.1."""

    __slots__ = (
        "_ahead",
        "_app_gone",
        "_body_left",
        "_cause",
        "_close_timer",
        "_connected",
        "_deaf",
        "_deflater",
        "_drain_code",
        "_drain_timer",
        "_early",
        "_entered",
        "_handshake",
        "_held",
        "_lost",
        "_opened",
        "_over",
        "_ping_timer",
        "_pong_due",
        "_queue",
        "_queued",
        "_reader",
        "_readers",
        "_response",
        "_resuming",
        "_slow",
        "_timers",
        "_writers",
        "cancel_at_end",
        "row",
        "scope",
        "service",
        "stage",
        "started",
        "state",
        "task",
        "transport",
        "write_paused",
    )

    row: int  # of the in-flight table
    stage: float

    def __init__(self, service: Service, peer: Peer, head: Head) -> None:
        self.service = service
        self.transport = peer.transport
        self.state = CONNECTING
        self.write_paused = peer.write_paused
        self.cancel_at_end = False  # the app wants to be cancelled, not told
        self._handshake = Handshake(head)
        self.started = perf_counter()
        self.task: asyncio.Task[None] | None = None
        self._entered = self._app_gone = self._connected = self._opened = self._lost = False
        self._deaf = False  # what the app sends is of no interest any more
        self._reader: FrameReader | None = None
        self._deflater: Deflater | None = None
        self._early = bytearray()  # what came before the handshake was answered
        self._queue: deque[str | bytes] = deque()
        self._queued = 0
        self._ahead = READ_AHEAD
        self._held = False  # reading is paused, by us
        self._resuming = False
        self._readers: Waiters = []
        self._writers: Waiters = []
        self._pong_due: bytes | None = None
        self._over: tuple[int, str] | None = None  # what the app's disconnect says
        self._cause: tuple[int, str] | None = None  # what it will say, whatever the client answers to our close
        self._drain_code: int | None = None
        self._response: dict[str, Any] | None = None
        self._body_left = 0
        self._close_timer: asyncio.TimerHandle | None = None
        self._drain_timer: asyncio.TimerHandle | None = None
        self._ping_timer: asyncio.TimerHandle | None = None
        self._timers = Timers(service, self)
        self._slow: SlowTaker | None = None
        headers = head.headers.copy()
        scope: dict[str, Any] = {
            "type": "websocket",
            "asgi": {"spec_version": "2.4", "version": "3.0"},
            "scheme": "wss" if peer.scheme == "https" else "ws",
            "http_version": head.version,
            "path": head.path,
            "raw_path": head.raw_path,
            "query_string": head.query_string,
            "root_path": peer.root_path,
            "headers": headers,
            "client": peer.client,
            "server": peer.server,
            "state": service.state.copy(),
            "subprotocols": list(self._handshake.subprotocols),
            "extensions": {"websocket.http.response": {}},
        }
        self.scope = scope
        if peer.tls is not None:
            scope["extensions"]["tls"] = peer.tls
        if service.forwarded is not None:
            service.forwarded.rewrite(scope)
        mount(scope)
        if service.request_ids:
            from ..lane.request_ids import with_request_id

            scope["headers"] = with_request_id(scope["headers"])

    def begin(self, host: bytes, early: bytes) -> None:
        """Answer the handshake, by the app or without it. early: what the client sent behind it."""
        service = self.service
        if service.server_names and host.decode("latin1") not in service.server_names:
            self._refuse(404)
            return
        if self._handshake.reason:
            self._refuse(400)
            return
        self._timers.start_read()
        service.connections.websocket_begun(self)
        if service.connections.draining:
            # Accepted by the kernel or begun before the drain: see handed.serve_websocket.
            self.begin_close(0.0)
        service.connections.running += 1
        self.task = service.loop.create_task(self._run())
        if early:
            self.data_received(early)

    async def _run(self) -> None:
        self._entered = True
        service = self.service
        if service.request_ids:
            # The last one: see request_ids.with_request_id.
            enter_request(self.scope["headers"][-1][1].decode())
        try:
            direct = service.direct
            if direct is not None and direct.websockets_usable():
                await direct.websocket(self)
            else:
                await service.app(self.scope, self.receive, self.send)
        except SystemExit as error:
            if copies.is_one:
                copies.leave(error)
            await service.config.log.error(exit_called(error, self.scope))
        except Exception as error:
            if not is_of_gone(error):
                await service.config.log.exception("Error in ASGI Framework")
        finally:
            self._app_ended()

    def _app_ended(self) -> None:
        service = self.service
        self._app_gone = True
        self._queue.clear()
        self.task = None  # cancelled, it keeps the exception, whose traceback leads back to this object
        if self._opened:
            service.counters.websocket_closed()
        service.connections.websocket_ended(self)
        if self._drain_timer is not None:
            self._drain_timer.cancel()
        if self.state is CONNECTING:
            self._refuse(500)
        elif self.state is REJECTING:
            self.transport.abort()  # an orderly end could pass for the end of the body
        elif self.state is OPEN:
            self._send_close(INTERNAL_ERROR)
        self._resume()  # a client that waits to be read has to be, to get at its close frame
        service.connections.app_ended()

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        self.service.counters.websocket_bytes(len(data), 0)
        if self.service.read_timeout is not None:
            self._timers.last_read = self.service.loop.time()
        reader = self._reader
        if reader is None:
            if self.state is CONNECTING:
                self._early += data
                if len(self._early) > READ_AHEAD:
                    self._hold()
            return
        if self._held:  # it was on its way already
            reader.keep(data)
            return
        self._digest(reader.read(data))
        if len(data) >= FULL_READ and not self._held:
            self._hold()
            self._resume()

    def eof_received(self) -> bool:
        self._read_the_rest()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._read_the_rest()
        self.state = CLOSED
        self._timers.stop()
        for timer in (self._close_timer, self._ping_timer):
            if timer is not None:
                timer.cancel()
        if self._slow is not None:
            self._slow.stop()
        self._end(ABNORMAL, "")
        self.resume_writing()
        self.service.connections.closed(self)

    def pause_writing(self) -> None:
        self.write_paused = True
        self._watched().write_begun()

    def resume_writing(self) -> None:
        self.write_paused = False
        if self._slow is not None:
            self._slow.write_done()
        if self._pong_due is not None:
            pong, self._pong_due = self._pong_due, None
            self._write(pong)
        wake(self._writers)

    async def _writable(self) -> None:
        """Return when what was written has gone far enough, or the client is gone."""
        while self.write_paused and self.state is not CLOSED:
            await wait_among(self._writers, self.service.loop)

    # lane.Connection

    def drain(self) -> None:
        """Nothing: WebSockets are told by themselves (Connections.begin_drain)."""

    def close_idle(self) -> None:
        """Nothing, for the same reason."""

    def idle_since(self) -> float | None:
        return None

    def under_way(self) -> Iterable[Request]:
        return ()

    def abort(self) -> None:
        self.transport.abort()
        self._end(ABNORMAL, "")
        self._cancel()

    def _cancel(self) -> None:
        # A task that never ran could not clean up behind itself.
        if self.task is not None and self._entered:
            self.task.cancel()

    # What the client sends

    def _digest(self, events: list[tuple[int, str | bytes]]) -> None:
        reader = cast(FrameReader, self._reader)
        pongs: list[bytes] = []
        for opcode, payload in events:
            if opcode <= BINARY:
                if not self._app_gone:
                    self._queue.append(payload)
                    size = len(payload)
                    if opcode == TEXT and not cast(str, payload).isascii():
                        size *= 4
                    self._queued += size + MESSAGE_COST
            elif opcode == PING:
                if self.state is OPEN:
                    pongs.append(frame_head(PONG, len(payload)) + cast(bytes, payload))
            elif opcode == CLOSE:
                self._client_closes(cast(bytes, payload))
        if pongs and self.state is OPEN:
            if self.write_paused:
                self._pong_due = pongs[-1]
            else:
                self._write(b"".join(pongs) if len(pongs) <= PONGS_MAX else pongs[-1])
        if self._queue:
            wake(self._readers)
        if reader.fault is not None:
            self._fail(*reader.fault)
        elif reader.more or self._queued > self._ahead:
            self._hold()
            if self._queued <= self._ahead:
                self._resume()

    def _read_the_rest(self) -> None:
        """Nothing more will come: see to what the loop was spared so far."""
        reader = self._reader
        while reader is not None and reader.more and self._over is None:
            self._digest(reader.read())

    def _client_closes(self, payload: bytes) -> None:
        if self.state is OPEN:
            self._write(frame_head(CLOSE, len(payload)) + payload)
        self._end(*close_code(payload))
        self._close()

    def _fail(self, code: int, reason: str) -> None:
        """The client broke the protocol or a bound."""
        if self.state is OPEN:
            payload = close_payload(code, reason)
            self._write(frame_head(CLOSE, len(payload)) + payload)
        self._end(code, reason)
        self._close(linger=True)

    def _hold(self) -> None:
        if not self._held and not self.transport.is_closing():
            self._held = True
            self.transport.pause_reading()

    def _resume(self) -> None:
        """Go on reading in the next turn of the loop."""
        if self._held and not self._resuming:
            self._resuming = True
            self.service.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._resuming = False
        reader = self._reader
        if not self._held or self._lost:
            return
        self._held = False
        if reader is not None and reader.more:
            self._digest(reader.read())
        if not self._held and not self.transport.is_closing():
            self.transport.resume_reading()
            self._timers.last_read = self.service.loop.time()

    # What the app is told

    async def receive(self) -> dict[str, Any]:
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        while not self._queue:
            if self._over is not None:
                return {"type": "websocket.disconnect", "code": self._over[0], "reason": self._over[1]}
            await wait_among(self._readers, self.service.loop)
        payload = self._take()
        if isinstance(payload, str):
            return {"type": "websocket.receive", "text": payload}
        if not payload and self.service.direct is not None:
            # Quart takes an empty one for none, and looks for a text.
            return {"type": "websocket.receive", "bytes": payload, "text": None}
        return {"type": "websocket.receive", "bytes": payload}

    async def get(self, gone: type[Exception] | None = None) -> str | bytes:
        """Return the next message; for an app that is cancelled at the end instead of being told.

        gone: what to raise when this is over and nothing is left to take; None waits on. Meant for what the app has
        in tasks of its own, which the cancelling does not reach.
        """
        self._ahead = READ_AHEAD  # it does take messages
        while not self._queue:
            if gone is not None and self._over is not None:
                raise gone
            await wait_among(self._readers, self.service.loop)
        return self._take()

    @property
    def over(self) -> bool:
        """Whether the app has been, or will be when it has taken what came before, told that this is over."""
        return self._over is not None

    def keep_ahead(self, size: int) -> None:
        """Let this many bytes of messages wait for an app that has not asked for one yet.

        Many never do: what their clients say now and then must not stop the reading for as long as can be borne.
        """
        self._ahead = max(size, READ_AHEAD)

    def _take(self) -> str | bytes:
        queue = self._queue
        payload = queue.popleft()
        if queue:
            self._queued -= len(payload) * (1 if payload.isascii() or isinstance(payload, bytes) else 4) + MESSAGE_COST
        else:
            self._queued = 0
        if self._held and self._queued <= self._ahead // 2:
            self._resume()
        return payload

    def _end(self, code: int, reason: str) -> None:
        """From here on the app is told, once it has taken what came before, that this is over."""
        if self._over is not None:
            return
        self._deaf = True
        self._over = self._cause or (code, reason)
        if self.state is OPEN:
            self.state = CLOSING
        self.service.connections.websocket_stage(self, shown.CLOSING)
        if self.cancel_at_end:
            self._cancel()
        wake(self._readers)

    # What the app sends

    async def send(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "websocket.send" and self.state is OPEN:
            data = message.get("bytes")
            if data is None:
                data = message["text"]
                if not isinstance(data, str):
                    raise TypeError(f"{data} should be a str")
            await self.send_message(data if isinstance(data, str) else bytes(data))
        elif self._deaf or self.state is CLOSED:
            if kind != "websocket.close":  # an app that tidies up has no use for an error
                await tell_gone()
        elif kind == "websocket.accept" and self.state is CONNECTING:
            self.accept(message.get("subprotocol"), message.get("headers", ()))
        elif kind == "websocket.close" and self.state is CONNECTING:
            self._refuse(403)
        elif kind == "websocket.close" and self.state is OPEN:
            code = message.get("code")
            code = 1000 if code is None else int(code)
            if code in (1005, 1006, 1015):  # they stand for what was not sent
                code = 1000
            if not code_may_be_sent(code):
                raise ValueError(f"{code} is not a close code that may be sent: 1000 to 1014, or 3000 to 4999")
            await self._writable()
            if self.state is OPEN:
                self._send_close(code, message.get("reason") or "")
        elif kind == "websocket.http.response.start" and self.state is CONNECTING:
            self._response = message
        elif kind == "websocket.http.response.body" and self.state in (CONNECTING, REJECTING) and self._response:
            await self._reject(message)
        else:
            raise UnexpectedMessageError(self.state, kind)

    async def send_message(self, data: str | bytes) -> None:
        """Send one message, when the client has taken enough of what came before. Lost when it is gone."""
        if self.write_paused:
            await self._writable()
        if self.state is not OPEN:
            return
        opcode, payload = (TEXT, data.encode()) if isinstance(data, str) else (BINARY, data)
        compressed = self._deflater is not None and len(payload) <= DEFLATE_MAX
        if compressed:
            payload = cast(Deflater, self._deflater).deflate(payload)
        self._write(frame_head(opcode, len(payload), compressed) + payload)

    def accept(self, subprotocol: str | None, headers: Iterable[Any]) -> None:
        """Answer the handshake: from here on messages go both ways. Raises ValueError."""
        service = self.service
        response, agreement = self._handshake.accept(subprotocol, headers, service.common.block())
        inflater = None
        if agreement is not None:
            inflater, self._deflater = Inflater(agreement), Deflater(agreement)
        self._reader = FrameReader(service.config.websocket_max_message_size, inflater)
        self.state = OPEN
        self._opened = True
        service.counters.websocket_opened()
        service.connections.websocket_stage(self, shown.OPEN)
        self._write(response)
        self._log(101)
        if service.config.websocket_ping_interval is not None:
            self._ping(service.config.websocket_ping_interval)
        if self._drain_code is not None:
            self._drain_now()
        if self._early:
            self._reader.keep(bytes(self._early))
            self._early.clear()
            self._hold()
        self._resume()

    def _ping(self, interval: float) -> None:
        if self.state is OPEN:
            if not self.write_paused:
                self._write(frame_head(PING, 0))
            self._ping_timer = self.service.loop.call_later(interval, self._ping, interval)

    async def _reject(self, message: dict[str, Any]) -> None:
        """Send the app's own answer to the handshake, or a part of it."""
        start = cast("dict[str, Any]", self._response)
        status = int(start["status"])
        body, more = bytes(message.get("body", b"")), message.get("more_body", False)
        head = b""
        if self.state is CONNECTING:
            head, self._body_left, _ = response_head(
                status,
                start.get("headers", ()),
                self.service.common.block(),
                method="GET",
                version="1.1",
                keep_alive=False,
                last=False,
            )
            self.state = REJECTING
        if has_no_body("GET", status):
            body = b""
        elif self._body_left == CHUNKED:
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (b"" if more else b"0\r\n\r\n")
        elif len(body) > self._body_left:
            raise ResponseError("Too much data for declared Content-Length")
        else:
            self._body_left -= len(body)
            if not more and self._body_left:
                raise ResponseError("Too little data for declared Content-Length")
        if head or body:
            self._write(head + body)
        await self._writable()
        if not more and self.state is REJECTING:
            self._log(status, start)
            self._cause = (NORMAL, "")
            self._close(linger=bool(self._early))

    def _refuse(self, status: int) -> None:
        """Answer the handshake with a status alone, and close."""
        if self.state is not CONNECTING or self._lost:
            return
        response = error_response(status, self.service.common.block())
        if status == 400 and self._handshake.wrong_version:
            response = response[:-2] + b"sec-websocket-version: %s\r\n\r\n" % VERSION
        self._write(response)
        self._log(status)
        self._cause = (NORMAL, "")
        self._close(linger=status == 400 or bool(self._early))

    def _send_close(self, code: int, reason: str = "") -> None:
        """Send a close frame and wait for the client's, but not for ever."""
        self.state = CLOSING
        self.service.connections.websocket_stage(self, shown.CLOSING)
        payload = close_payload(code, reason)
        self._write(frame_head(CLOSE, len(payload)) + payload)
        self._close_timer = self.service.loop.call_later(CLOSE_WAIT_S, self._not_answered)
        self._resume()

    def _not_answered(self) -> None:
        self._end(ABNORMAL, "")
        self._close()

    def _write(self, data: bytes) -> None:
        self.service.counters.websocket_bytes(0, len(data))
        self.transport.write(data)

    def _log(self, status: int, response: dict[str, Any] | None = None) -> None:
        access = self.service.access
        if access is not None:
            response = response or {"status": status, "headers": []}
            logging = self.service.loop.create_task(access(self.scope, response, perf_counter() - self.started))
            _LOGGING.add(logging)
            logging.add_done_callback(_LOGGING.discard)

    # The end

    def _close(self, linger: bool = False) -> None:
        """End the connection when what was written has been sent. linger: the client may still be sending."""
        transport = self.transport
        if self.state is CLOSED or self._lost:
            return
        self.state = CLOSED
        self._early.clear()
        self._reader = None
        self._timers.stop()
        for timer in (self._close_timer, self._ping_timer):
            if timer is not None:
                timer.cancel()
        if linger and transport.can_write_eof() and not transport.is_closing():
            # Closing with bytes unread would make the kernel answer with a reset, which can destroy our last words.
            transport.write_eof()
            if self._held:
                self._held = False
                transport.resume_reading()
            self._close_timer = self.service.loop.call_later(LINGER_S, transport.abort)
            return
        transport.close()
        if transport.get_write_buffer_size():
            self._watched().write_begun()

    # Draining (lane.connections.WebSocket)

    def begin_close(self, delay: float) -> None:
        """Close with the drain's reason after `delay` seconds."""
        if self._drain_timer is None and self.state in (CONNECTING, OPEN):
            self._drain_timer = self.service.loop.call_later(delay, self._drain_soon)

    def _drain_soon(self) -> None:
        self._drain_code = CLOSE_CODES[self.service.connections.reason]
        if self.state is CONNECTING:
            self._drain_timer = self.service.loop.call_later(ACCEPT_WAIT_S, self._turn_away)
        else:
            self._drain_now()

    def _drain_now(self) -> None:
        if self.state is OPEN:
            code = cast(int, self._drain_code)
            self._cause = (code, "")
            self._deaf = True
            self._send_close(code)

    def _turn_away(self) -> None:
        """Answer a handshake that the app did not answer in time with a 503 that may be tried again at once."""
        if self.state is CONNECTING:
            self._cause = (cast(int, self._drain_code), "")
            head, _, _ = response_head(
                503,
                [(b"content-length", b"0"), (b"connection", b"close"), (b"retry-after", b"0")],
                self.service.common.block(),
                method="GET",
                version="1.1",
                keep_alive=True,
                last=False,
            )
            self._write(head)
            self._log(503)
            self._end(ABNORMAL, "")
            self._close(linger=bool(self._early))

    # Clocks

    def _watched(self) -> SlowTaker:
        if self._slow is None:
            self._slow = SlowTaker(self.service, self.transport, self.abort)
        return self._slow

    # timers.Timed

    def is_idle(self) -> bool:
        return False

    def is_due(self) -> bool:
        return not self._held

    def idle_too_long(self) -> None:
        """A WebSocket may be silent: pings find out whether its client is there."""

    def read_too_late(self) -> None:
        self._end(ABNORMAL, "")
        self._close()


_LOGGING: set[asyncio.Task[None]] = set()
"""Access log calls that nobody waits for; the loop itself would not keep them."""


def take_over(service: Service, peer: Peer, replaced: Connection, head: Head, early: bytes) -> None:
    """Serve a connection whose client asks for a WebSocket as one. early: what came behind the head."""
    websocket = WebSocketConnection(service, peer, head)
    peer.transport.set_protocol(websocket)
    service.connections.replaced(replaced, websocket)
    websocket.begin(head.host, early)
