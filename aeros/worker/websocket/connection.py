"""The WebSockets of HTTP/1.1: a connection from the client's handshake to its end.

Above it stands the app's side (asgi, or a direct path into the app), which takes messages out of a bounded Inbox;
below it the client's side (Wire). When the Inbox is full, or a flood has taken its turn of the loop, reading stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

from ...core.shared import requests_table as shown
from ..lane.connections import ACCEPT_WAIT_S, CLOSE_CODES, CLOSE_WAIT_S
from ..lane.waiters import Waiters, wait_among, wake
from .deflate import DEFLATE_MAX, Deflater, Inflater
from .frames import BINARY, CLOSE, PING, PONG, TEXT, FrameReader, close_code, close_payload, frame_head
from .handshake import Handshake
from .handshake_log import log_handshake
from .inbox import READ_AHEAD, Inbox
from .message_share import MessageShare
from .rejection import refusal, unavailable
from .scope import make_scope
from .state import ABNORMAL, CLOSED, CLOSING, CONNECTING, INTERNAL_ERROR, NORMAL, OPEN, REJECTING
from .wire import Wire

if TYPE_CHECKING:
    from ..lane.head import Head
    from ..lane.service import Peer, Service

    Run = Callable[["WebSocketConnection"], Coroutine[Any, Any, None]]

FULL_READ = 1 << 16
"""After a read of so many bytes others have their turn: libuv would read 32 times 256 KiB in a row."""

PONGS_MAX = 32
"""Pings of one read that are all answered; of more only the last is, as RFC 6455 section 5.5.3 allows."""


class WebSocketConnection(Wire):
    """One WebSocket over HTTP/1.1."""

    __slots__ = (
        "_app_gone",
        "_cause",
        "_deflater",
        "_drain_code",
        "_drain_timer",
        "_early",
        "_handshake",
        "_opened",
        "_reader",
        "_share",
        "cancel_at_end",
        "deaf",
        "ending",
        "entered",
        "inbox",
        "readers",
        "row",
        "scope",
        "stage",
        "started",
        "task",
    )

    row: int  # of the in-flight table
    stage: float

    def __init__(self, service: Service, peer: Peer, head: Head) -> None:
        super().__init__(service, peer)
        self.cancel_at_end = False  # the app wants to be cancelled, not told
        self._handshake = Handshake(head)
        self.started = perf_counter()
        self.task: asyncio.Task[None] | None = None
        self.entered = self._app_gone = self._opened = False
        self.deaf = False  # what the app sends is of no interest any more
        self._reader: FrameReader | None = None
        self._deflater: Deflater | None = None
        self._share = MessageShare(self, self._turned_away)
        self._early = bytearray()  # what came before the handshake was answered
        self.inbox = Inbox(READ_AHEAD)
        self.readers: Waiters = []
        self.ending: tuple[int, str] | None = None  # what the app's disconnect says
        self._cause: tuple[int, str] | None = None  # what it will say, whatever the client answers to our close
        self._drain_code: int | None = None
        self._drain_timer: asyncio.TimerHandle | None = None
        self.scope = make_scope(service, peer, head, self._handshake.subprotocols)

    def begin(self, host: bytes, early: bytes, run: Run) -> None:
        """Answer the handshake, by the app or without it. early: what came behind it; run: runs the app."""
        service = self.service
        if service.server_names and host.decode("latin1") not in service.server_names:
            self.refuse(404)
            return
        if self._handshake.reason:
            self.refuse(400)
            return
        self._timers.start_read()
        service.connections.websocket_begun(self)
        if service.connections.draining:
            # Accepted by the kernel or begun before the drain: see handed.serve_websocket.
            self.begin_close(0.0)
        service.connections.running += 1
        self.task = service.loop.create_task(run(self))
        if early:
            self.data_received(early)

    def app_ended(self) -> None:
        """The app has returned."""
        service, self._app_gone = self.service, True
        self.inbox.clear()
        self._share.close()
        self.task = None  # cancelled, it keeps the exception, whose traceback leads back to this object
        if self._opened:
            service.counters.websocket_closed()
        service.connections.websocket_ended(self)
        if self._drain_timer is not None:
            self._drain_timer.cancel()
        if self.state is CONNECTING:
            self.refuse(500)
        elif self.state is REJECTING:
            self.transport.abort()  # an orderly end could pass for the end of the body
        elif self.state is OPEN:
            self.send_close(INTERNAL_ERROR)
        self.resume()  # a client that waits to be read has to be, to get at its close frame
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
                    self.hold()
            return
        if self._held:  # it was on its way already
            reader.keep(data)
            return
        self._digest(reader.read(data))
        self._count(len(data))
        if len(data) >= FULL_READ and not self._held:
            self.hold()
            self.resume()

    def eof_received(self) -> bool:
        self._read_the_rest()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._read_the_rest()
        self._reader = None
        self._count(0)
        self.state = CLOSED
        self.stop_clocks()
        if self._slow is not None:
            self._slow.stop()
        self._end(ABNORMAL, "")
        self.resume_writing()
        self.service.connections.closed(self)

    def abort(self) -> None:  # lane.Connection
        self.transport.abort()
        self._end(ABNORMAL, "")
        self._cancel()

    def _cancel(self) -> None:
        # A task that never ran could not clean up behind itself.
        if self.task is not None and self.entered:
            self.task.cancel()

    # What the client sends

    def _digest(self, events: list[tuple[int, str | bytes]]) -> None:
        reader = cast(FrameReader, self._reader)
        pongs: list[bytes] = []
        for opcode, payload in events:
            if opcode <= BINARY:
                if not self._app_gone:
                    self.inbox.put(payload)
            elif opcode == PING:
                if self.state is OPEN:
                    pongs.append(frame_head(PONG, len(payload)) + cast(bytes, payload))
            elif opcode == CLOSE:
                self._client_closes(cast(bytes, payload))
        if pongs and self.state is OPEN:
            if self.write_paused:
                self._pong_due = pongs[-1]
            else:
                self.write(b"".join(pongs) if len(pongs) <= PONGS_MAX else pongs[-1])
        if self.inbox.queue:
            wake(self.readers)
        if reader.fault is not None:
            self._fail(*reader.fault)
        elif reader.more or self.inbox.size > self.inbox.ahead:
            self.hold()
            if self.inbox.size <= self.inbox.ahead:
                self.resume()

    def _read_the_rest(self) -> None:
        """Nothing more will come: see to what the loop was spared so far."""
        reader = self._reader
        while reader is not None and reader.more and self.ending is None:
            self._digest(reader.read())

    def read_on(self) -> None:
        reader = self._reader
        if reader is not None and reader.more:
            self._digest(reader.read())
            self._count(0)

    def hold(self) -> None:
        super().hold()
        self._share.excuse()

    def _count(self, more: int) -> None:
        """Count what is held of messages among the bodies of the worker. more: bytes that just came."""
        self._share.count(0 if self._reader is None else self._reader.partial, self.inbox.size, more)

    def _turned_away(self, code: int, reason: str) -> None:
        if self.state is OPEN:
            self._fail(code, reason)
            self._count(0)

    def _client_closes(self, payload: bytes) -> None:
        if self.state is OPEN:
            self.write(frame_head(CLOSE, len(payload)) + payload)
        self._end(*close_code(payload))
        self._close()

    def _fail(self, code: int, reason: str) -> None:
        """The client broke the protocol or a bound."""
        if self.state is OPEN:
            payload = close_payload(code, reason)
            self.write(frame_head(CLOSE, len(payload)) + payload)
        self._end(code, reason)
        self._close(linger=True)

    # What the app is told

    async def get(self, gone: type[Exception] | None = None) -> str | bytes:
        """Return the next message; for an app that is cancelled at the end instead of being told.

        gone: what to raise at the end, for tasks of the app's own, which the cancelling does not reach; None waits on.
        """
        self.inbox.ahead = READ_AHEAD  # it does take messages
        while not self.inbox.queue:
            if gone is not None and self.ending is not None:
                raise gone
            await wait_among(self.readers, self.service.loop)
        return self.take()

    @property
    def over(self) -> bool:
        """Whether the app has been, or will be when it has taken what came before, told that this is over."""
        return self.ending is not None

    def keep_ahead(self, size: int) -> None:
        """Let this many bytes of messages wait for an app that has not asked for one yet. Many never do."""
        self.inbox.ahead = max(size, READ_AHEAD)

    def take(self) -> str | bytes:
        """Return the oldest message; there must be one."""
        payload = self.inbox.take()
        if self._share.weight:
            self._count(0)
        if self._held and self.inbox.size <= self.inbox.ahead // 2:
            self.resume()
        return payload

    def _end(self, code: int, reason: str) -> None:
        """The app is told from here on, when it has taken what came before, that this is over."""
        if self.ending is not None:
            return
        self.deaf = True
        self.ending = self._cause or (code, reason)
        if self.state is OPEN:
            self.state = CLOSING
        self.service.connections.websocket_stage(self, shown.CLOSING)
        if self.cancel_at_end:
            self._cancel()
        wake(self.readers)

    # What the app sends

    async def send_message(self, data: str | bytes) -> None:
        """Send one message, when the client has taken enough of what came before. Lost when it is gone."""
        if self.write_paused:
            await self.writable()
        if self.state is not OPEN:
            return
        opcode, payload = (TEXT, data.encode()) if isinstance(data, str) else (BINARY, data)
        compressed = self._deflater is not None and len(payload) <= DEFLATE_MAX
        if compressed:
            payload = cast(Deflater, self._deflater).deflate(payload)
        self.write(frame_head(opcode, len(payload), compressed) + payload)

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
        self.write(response)
        self._log(101)
        if service.config.websocket_ping_interval is not None:
            self.start_pings(service.config.websocket_ping_interval)
        if self._drain_code is not None:
            self._drain_now()
        if self._early:
            self._reader.keep(bytes(self._early))
            self._early.clear()
            self.hold()
        self.resume()

    def answered(self, status: int, response: dict[str, Any]) -> None:
        """The app has answered the handshake with a response of its own."""
        self._log(status, response)
        self._cause = (NORMAL, "")
        self._close(linger=bool(self._early))

    def refuse(self, status: int) -> None:
        """Answer the handshake with a status alone, and close."""
        if self.state is not CONNECTING or self._lost:
            return
        self.write(refusal(status, self.service.common.block(), self._handshake.wrong_version))
        self._log(status)
        self._cause = (NORMAL, "")
        self._close(linger=status == 400 or bool(self._early))

    def send_close(self, code: int, reason: str = "") -> None:
        """Send a close frame and wait for the client's, but not for ever."""
        self.state = CLOSING
        self.service.connections.websocket_stage(self, shown.CLOSING)
        payload = close_payload(code, reason)
        self.write(frame_head(CLOSE, len(payload)) + payload)
        self._close_timer = self.service.loop.call_later(CLOSE_WAIT_S, self._not_answered)
        self.resume()

    def _not_answered(self) -> None:
        self._end(ABNORMAL, "")
        self._close()

    def _log(self, status: int, response: dict[str, Any] | None = None) -> None:
        log_handshake(self.service, self.scope, self.started, response or {"status": status, "headers": []})

    # The end

    def _close(self, linger: bool = False) -> None:
        """End the connection when what was written has been sent. linger: the client may still be sending."""
        if self.state is not CLOSED and not self._lost:
            self._early.clear()
            self._reader = None
            self.hang_up(linger)

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
            self._cause, self.deaf = (code, ""), True
            self.send_close(code)

    def _turn_away(self) -> None:
        """Answer a handshake that the app did not answer in time with a 503 that may be tried again at once."""
        if self.state is CONNECTING:
            self._cause = (cast(int, self._drain_code), "")
            self.write(unavailable(self.service.common.block()))
            self._log(503)
            self._end(ABNORMAL, "")
            self._close(linger=bool(self._early))

    def read_too_late(self) -> None:
        self._end(ABNORMAL, "")
        self._close()
