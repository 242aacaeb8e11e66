"""One connection of HTTP/3: QUIC by aioquic, its timers, its end; for the worker a connection like any other."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol, cast

from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import FrameType, encode_frame
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionIdIssued, ConnectionIdRetired, ConnectionTerminated, ProtocolNegotiated

from ...core.net.steering import new_cid
from ..hypercorn.app import HandedApp
from .streams import GuardedGroup, Streams

if TYPE_CHECKING:
    from hypercorn.asyncio.worker_context import WorkerContext

    from ..lane.service import Service
    from ..report.requests_table import Request

QUIET_S = 0.2
"""At a stop a connection ends when nothing has come for this long: time for a request that is on its way. At a reload
it is the keep-alive time, as with HTTP/1.1: not every client knows GOAWAY, and one that does leaves by itself."""

_WAITING_MOST = 64
"""Datagrams that wait while apps have enough to do; more are dropped, and the client sends them again."""

_BODIES_MOST = 1 << 20
"""Bytes of bodies that apps of one connection have not taken; then nothing more is read from it."""

_NO_ERROR, _INTERNAL_ERROR = 0x100, 0x102  # RFC 9114 section 8.1
_LAST_STREAM = (1 << 62) - 4  # of those that a client can begin: "no more, please" (section 5.2)


class Owner(Protocol):
    """The socket, as its connections need it. address: its own. on_failure: told what ended a connection."""

    service: Service
    context: WorkerContext
    address: tuple[str, int] | None
    on_failure: Callable[[BaseException], None]

    def send(self, data: bytes, address: Any) -> None: ...
    def named(self, cid: bytes, connection: Connection) -> None:
        """The connection has one more id."""

    def unnamed(self, cid: bytes) -> None: ...
    def forget(self, connection: Connection) -> None: ...


class SeatedQuic(QuicConnection):
    """A QUIC connection whose ids say in which seat its worker sits (see core.net.steering)."""

    def __init__(self, seat: int, **given: Any) -> None:
        super().__init__(**given)
        self._seat = seat
        first = self._host_cids[0]
        first.cid = self.host_cid = self._local_initial_source_connection_id = new_cid(seat)

    def _replenish_connection_ids(self) -> None:
        known = len(self._host_cids)
        super()._replenish_connection_ids()
        for made in self._host_cids[known:]:
            made.cid = new_cid(self._seat)


class Connection:
    """Used on the worker's loop. A failure inside ends it alone."""

    tls: dict[str, Any] | None = None
    announced = None

    def __init__(self, owner: Owner, quic: SeatedQuic, first_cid: bytes) -> None:
        self.quic = quic
        self.cids = {first_cid, quic.host_cid}
        self.requests: set[Any] = set()
        self._owner = owner
        self._service = owner.service
        self._loop = owner.service.loop
        self._streams: Streams | None = None
        self._datagrams: deque[tuple[bytes, Any]] = deque()
        self._client: Any = None
        self._woken = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = False
        self._over = False
        self._heard_at = self._loop.time()
        self._leaving: asyncio.TimerHandle | None = None
        self._service.connections.opened(cast(Any, self))
        self._service.connections.running += 1
        self._task = self._loop.create_task(self._run())

    def feed(self, data: bytes, address: Any) -> None:
        """A datagram came."""
        self._heard_at = self._loop.time()
        if len(self._datagrams) < _WAITING_MOST:
            self._datagrams.append((data, address))
            self._woken.set()

    async def _run(self) -> None:
        try:
            group = GuardedGroup(self._loop, self._fail)
            async with group:
                try:
                    await self._live(group)
                except Exception as error:  # out of the group it would come as a group of exceptions
                    self._fail(error)
                    self.flush()
                if self._streams is not None:
                    self._streams.leave_all()
        finally:
            self._ended()

    async def _live(self, group: GuardedGroup) -> None:
        while not self._over:
            await self._woken.wait()
            self._woken.clear()
            if self._timer_due:
                self._timer_due = False
                self.quic.handle_timer(now=self._loop.time())
            await self._take_events(group)
            while self._datagrams and not self._over and not self._full:
                data, address = self._datagrams.popleft()
                self._client = self._client or address
                self.quic.receive_datagram(data, address, now=self._loop.time())
                await self._take_events(group)
            self.flush()

    @property
    def _full(self) -> bool:
        return self._streams is not None and self._streams.waiting > _BODIES_MOST

    async def _take_events(self, group: GuardedGroup) -> None:
        while (event := self.quic.next_event()) is not None:
            match event:
                case ConnectionTerminated():
                    self._over = True
                case ProtocolNegotiated():
                    self._streams = self._make_streams(group)
                case ConnectionIdIssued():
                    self.cids.add(event.connection_id)
                    self._owner.named(event.connection_id, self)
                case ConnectionIdRetired():
                    self.cids.discard(event.connection_id)
                    self._owner.unnamed(event.connection_id)
            if self._streams is not None:
                await self._streams.handle(event)

    def _make_streams(self, group: GuardedGroup) -> Streams:
        service = self._service
        app = HandedApp(service, cast(Any, self))
        return Streams(
            app, service.config, self._owner.context, group, service.state.copy(), self._client, self._owner.address,
            self.quic, self._flush_later, on_taken=self._woken.set,
        )  # fmt: skip

    async def _flush_later(self) -> None:
        self.flush()

    def flush(self) -> None:
        """Send what is to be sent, and set the timer."""
        for data, address in self.quic.datagrams_to_send(now=self._loop.time()):
            self._owner.send(data, address)
        if self._timer is not None:
            self._timer.cancel()
        at = self.quic.get_timer()
        self._timer = None if at is None else self._loop.call_at(at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer_due = True
        self._woken.set()

    def _fail(self, error: BaseException) -> None:
        """Something inside has failed: the client is told, and the connection ends."""
        self._owner.on_failure(error)
        self.close(_INTERNAL_ERROR)

    def _ended(self) -> None:
        for handle in (self._timer, self._leaving):
            if handle is not None:
                handle.cancel()
        self._owner.forget(self)
        self._service.connections.closed(cast(Any, self))
        self._service.connections.app_ended()

    def close(self, code: int = _NO_ERROR) -> None:
        self.quic.close(error_code=code)
        self._woken.set()

    async def cut(self, stream_id: int | None) -> None:
        """Reset one stream, whose response cannot go on."""
        if stream_id is not None:
            self.quic.reset_stream(stream_id, _INTERNAL_ERROR)
            self.flush()

    # connections.Connection

    def drain(self) -> None:
        """Ask the client to connect anew, and end when it has done so, or is quiet.

        One that does not know of GOAWAY goes on, until the time to drain is over.
        """
        if self._leaving is None:
            self._go_away(_LAST_STREAM)
        else:
            self._leaving.cancel()  # from a reload to a stop
        self._leaving = self._loop.call_later(QUIET_S, self._leave)

    def _leave(self) -> None:
        wanted_s = QUIET_S if self._service.connections.reason == "stop" else self._service.keep_alive_timeout
        left_s = self._heard_at + wanted_s - self._loop.time()
        if self._busy or left_s > 0:
            self._leaving = self._loop.call_later(max(0.02, left_s), self._leave)
            return
        if self._streams is not None:
            self._streams.end_at = self._streams.next_stream
            self._go_away(self._streams.end_at)
        self.close()

    @property
    def _busy(self) -> bool:
        """Whether a request is under way, or a response not yet acknowledged to its end."""
        if self._streams is None:
            return False
        return self._streams.under_way or any(number % 4 == 0 for number in self.quic._streams)

    def _go_away(self, stream_id: int) -> None:
        """aioquic has no call for GOAWAY (RFC 9114 section 7.2.6)."""
        if self._streams is None or self._over:
            return
        control = self._streams.connection._local_control_stream_id
        if control is not None:
            self.quic.send_stream_data(control, encode_frame(FrameType.GOAWAY, encode_uint_var(stream_id)))
            self.flush()

    def close_idle(self) -> None:
        self.drain()

    def idle_since(self) -> float | None:
        return None  # it has no descriptor of its own to give up

    def under_way(self) -> Iterable[Request]:
        return tuple(self.requests)

    def abort(self) -> None:
        self.close()
        self.flush()
        self._task.cancel()
