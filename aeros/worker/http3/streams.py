"""The requests of one connection of HTTP/3: Hypercorn's, but for what would end or hold up the whole connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.events import QuicEvent, StopSendingReceived, StreamReset
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.protocol.events import Body, EndBody, Event, StreamClosed
from hypercorn.protocol.h3 import H3Protocol

from ...core.net.client_gone import ClientGone, is_of_gone


class GuardedGroup(TaskGroup):
    """A group whose tasks fail alone. on_failure: told of each."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_failure: Callable[[BaseException], None]) -> None:
        super().__init__(loop)
        self._on_failure = on_failure

    def spawn(self, func: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        super().spawn(self._guarded, func, *args)

    async def _guarded(self, func: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        try:
            await func(*args)
        except Exception as error:
            if not is_of_gone(error):
                self._on_failure(error)


class _Inbox:
    """What has come for a stream and its app has not taken."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.waiting = 0
        #: The client wants no answer any more, or has it.
        self.gone = False
        self.task: asyncio.Task[None]


class Streams(H3Protocol):
    """What comes for a stream waits for its app in a task of its own, so that a slow app holds up no other stream."""

    #: Streams from this number on are not answered: the client has been told (RFC 9114 section 5.2).
    end_at: int | None = None
    #: The first that has not come.
    next_stream = 0
    #: Bytes of bodies that apps have not taken.
    waiting = 0

    def __init__(self, app: Any, *args: Any, on_taken: Callable[[], None]) -> None:
        """on_taken: told when `waiting` gets less, or a stream ends."""
        super().__init__(cast(Any, self._watched), *args)
        self._handed = app
        self._on_taken = on_taken
        self._inboxes: dict[int, _Inbox] = {}

    @property
    def under_way(self) -> bool:
        return bool(self._inboxes)

    async def _watched(self, scope: Any, receive: Any, send: Any, *rest: Any) -> None:
        """Call the app. That it sends to a client which is gone is nothing to log."""
        try:
            await self._handed(scope, receive, send, *rest)
        except Exception as error:
            if not is_of_gone(error):
                raise
        finally:
            self._forget(send.__self__.stream_id)

    async def handle(self, quic_event: QuicEvent) -> None:
        if isinstance(quic_event, StreamReset | StopSendingReceived):
            self._leave(quic_event.stream_id)
        for event in self.connection.handle_event(quic_event):
            if isinstance(event, HeadersReceived):
                await self._begin(event)
            elif isinstance(event, DataReceived):
                self._put(event.stream_id, Body(stream_id=event.stream_id, data=event.data), len(event.data))
            if isinstance(event, HeadersReceived | DataReceived) and event.stream_ended:
                self._put(event.stream_id, EndBody(stream_id=event.stream_id))

    async def _begin(self, event: HeadersReceived) -> None:
        if not any(name == b":method" for name, _ in event.headers):
            return  # trailers, which Hypercorn would take for a request
        self.next_stream = max(self.next_stream, event.stream_id + 4)
        if self.end_at is not None and event.stream_id >= self.end_at:
            return
        await self._create_stream(event)
        stream = self.streams.get(event.stream_id)
        if stream is not None and not stream.closed:
            inbox = self._inboxes[event.stream_id] = _Inbox(stream)
            inbox.task = asyncio.get_running_loop().create_task(self._deliver(inbox))

    def _put(self, stream_id: int, event: Event, size: int = 0) -> None:
        """Keep it for the app. For a stream that has been answered it is dropped."""
        if (inbox := self._inboxes.get(stream_id)) is not None and not inbox.gone:
            inbox.events.put_nowait(event)
            inbox.waiting += size
            self.waiting += size

    async def _deliver(self, inbox: _Inbox) -> None:
        while True:
            event = await inbox.events.get()
            if isinstance(event, Body):
                inbox.waiting -= len(event.data)
                self.waiting -= len(event.data)
            await inbox.stream.handle(event)
            self._on_taken()

    def _leave(self, stream_id: int) -> None:
        """The client wants no answer any more: tell the app."""
        inbox = self._inboxes.get(stream_id)
        if inbox is not None and not inbox.gone:
            self._put(stream_id, StreamClosed(stream_id=stream_id))
            inbox.gone = True

    def leave_all(self) -> None:
        for stream_id in tuple(self._inboxes):
            self._leave(stream_id)

    async def stream_send(self, event: Event) -> None:
        if isinstance(event, StreamClosed):
            self._answered(event.stream_id)
            return
        inbox = self._inboxes.get(event.stream_id)
        if inbox is not None and inbox.gone:
            raise ClientGone
        await super().stream_send(event)

    def _answered(self, stream_id: int) -> None:
        """The response is complete: what the app has not taken is dropped, and it is told that nothing more comes."""
        inbox = self._inboxes.get(stream_id)
        if inbox is not None:
            while not inbox.events.empty():
                inbox.events.get_nowait()
            self.waiting -= inbox.waiting
            inbox.waiting = 0
            self._leave(stream_id)
            self._on_taken()

    def _forget(self, stream_id: int) -> None:
        """The app is done with it."""
        self.streams.pop(stream_id, None)
        inbox = self._inboxes.pop(stream_id, None)
        if inbox is not None:
            inbox.task.cancel()
            self.waiting -= inbox.waiting
            self._on_taken()
