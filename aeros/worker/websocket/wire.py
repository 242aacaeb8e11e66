"""The client's side of a WebSocket: bytes to its transport, when it is read from, and the clocks against it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..http1.slow_clients import SlowTaker
from ..lane.timers import Timers
from ..lane.waiters import Waiters, wait_among, wake
from .frames import PING, frame_head
from .state import CLOSED, CONNECTING, OPEN

if TYPE_CHECKING:
    from ..lane.service import Peer, Service
    from ..report.requests_table import Request

LINGER_S = 2.0
"""How long what a client still sends is read and dropped after a close frame that it broke the protocol for."""


class Wire(asyncio.Protocol):
    """The asyncio Protocol below a WebSocket, as far as it knows nothing of messages and the app."""

    __slots__ = (
        "_close_timer",
        "_held",
        "_lost",
        "_ping_timer",
        "_pong_due",
        "_resuming",
        "_slow",
        "_timers",
        "_writers",
        "full",
        "service",
        "state",
        "transport",
        "write_paused",
    )

    def __init__(self, service: Service, peer: Peer) -> None:
        self.service = service
        self.transport = peer.transport
        self.state = CONNECTING
        self.write_paused = peer.write_paused
        self._lost = False
        self._held = False  # reading is paused, by us
        self.full = False  # the worker has no room for more: it says when it has (message_share)
        self._resuming = False
        self._writers: Waiters = []
        self._pong_due: bytes | None = None
        self._close_timer: asyncio.TimerHandle | None = None
        self._ping_timer: asyncio.TimerHandle | None = None
        self._timers = Timers(service, self)
        self._slow: SlowTaker | None = None

    def read_on(self) -> None:
        """Read what was kept while reading was paused."""
        raise NotImplementedError

    def abort(self) -> None:
        """Drop the connection now."""
        raise NotImplementedError

    # Reading

    def hold(self) -> None:
        if not self._held and not self.transport.is_closing():
            self._held = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Go on reading in the next turn of the loop."""
        if self._held and not self._resuming and not self.full:
            self._resuming = True
            self.service.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._resuming = False
        if not self._held or self._lost or self.full:
            return
        self._held = False
        self.read_on()
        if not self._held and not self.transport.is_closing():
            self.transport.resume_reading()
            self._timers.last_read = self.service.loop.time()

    # Writing

    def write(self, data: bytes) -> None:
        self.service.counters.websocket_bytes(0, len(data))
        self.transport.write(data)

    def pause_writing(self) -> None:
        self.write_paused = True
        self._watched().write_begun()

    def resume_writing(self) -> None:
        self.write_paused = False
        if self._slow is not None:
            self._slow.write_done()
        if self._pong_due is not None:
            pong, self._pong_due = self._pong_due, None
            self.write(pong)
        wake(self._writers)

    async def writable(self) -> None:
        """Return when what was written has gone far enough, or the client is gone."""
        while self.write_paused and self.state is not CLOSED:
            await wait_among(self._writers, self.service.loop)

    def start_pings(self, interval: float) -> None:
        """Ask an open WebSocket's client again and again whether it is there, the first time now."""
        if self.state is OPEN:
            if not self.write_paused:
                self.write(frame_head(PING, 0))
            self._ping_timer = self.service.loop.call_later(interval, self.start_pings, interval)

    # The end

    def hang_up(self, linger: bool) -> None:
        """End the connection when what was written has been sent. linger: the client may still be sending."""
        transport = self.transport
        self.state = CLOSED
        self.stop_clocks()
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

    def stop_clocks(self) -> None:
        """Stop all but the one that runs while what was written is not taken."""
        self._timers.stop()
        for timer in (self._close_timer, self._ping_timer):
            if timer is not None:
                timer.cancel()

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
        raise NotImplementedError

    # lane.Connection

    def drain(self) -> None:
        """Nothing: WebSockets are told by themselves (Connections.begin_drain)."""

    def close_idle(self) -> None:
        """Nothing, for the same reason."""

    def idle_since(self) -> float | None:
        return None

    def under_way(self) -> Iterable[Request]:
        return ()
