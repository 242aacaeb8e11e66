"""WebSockets over HTTP/2 (RFC 8441): one stream each, in the hands of Hypercorn's own class for a WebSocket."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, cast

from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.protocol.events import Body, Data, EndBody, EndData, Event, Request, Response, StreamClosed
from hypercorn.protocol.ws_stream import WSStream
from hypercorn.typing import ConnectionState

from ...core.request_id import enter_request
from ..lane.mount import mount
from ..websocket.handed import serve_websocket
from ..websocket.message_share import MessageShare
from .frames import ENHANCE_YOUR_CALM, NO_ERROR
from .hpack_encoder import response_block

if TYPE_CHECKING:
    from .request import HTTP2Head
    from .stream import Stream

CLOSE_WAIT_S = 2.0
"""How long a client may take to end its side of a stream whose WebSocket is over."""


def serve_stream(stream: Stream, head: HTTP2Head) -> None:
    """Serve the WebSocket that an extended CONNECT asks for."""
    if head.protocol != b"websocket":
        # Of a protocol nobody knows here (RFC 8441 leaves the answer to us; RFC 9220 asks for this one).
        stream.send_headers(response_block(501, [(b"content-length", b"0")], stream.streams.common)[0], True)
        return
    stream.consumer = WebSocketStream(stream, head)


class WebSocketStream(TaskGroup):
    """What Hypercorn's WebSocket needs: a group for its tasks, and a way for its events to the client and back."""

    weight = 0  # what waits here is not a body that somebody awaits

    def __init__(self, stream: Stream, head: HTTP2Head) -> None:
        service = stream.service
        super().__init__(service.loop)
        self._stream = stream
        self.service = self._service = service
        self.full = False
        self._roomy = asyncio.Event()
        self._share = MessageShare(self, self._turned_away)
        self._incoming: deque[bytes] = deque()
        self._waiting = 0
        self._ended = False
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._websocket = WSStream(
            cast(Any, self._app),
            service.config,
            WorkerContext(None),
            self,
            stream.scheme == "https",
            stream.client,
            stream.server,
            self._send,
            stream.id,
        )
        target = head.raw_path + (b"?" + head.query_string if head.query_string else b"")
        request = Request(
            stream_id=stream.id,
            headers=head.headers.copy(),
            http_version="2",
            method=head.method,
            raw_path=target,
            state=cast(Any, ConnectionState(cast(Any, service.state))),
        )
        self.spawn(self._read, request)

    # http2_stream.Consumer

    def feed(self, data: bytes) -> None:
        self._incoming.append(data)
        self._waiting += len(data)
        self._news.set()

    def end_of_body(self) -> None:
        self._ended = True
        self._news.set()

    def buffered(self) -> int:
        return self._waiting

    def disconnect(self) -> None:
        self._incoming.clear()
        self._waiting = 0
        self.end_of_body()

    def cancel(self) -> None:
        for task in list(self._tasks):
            task.cancel()

    # hypercorn.typing.TaskGroup

    def spawn(self, func: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        task = self._service.loop.create_task(func(*args))
        self._tasks.add(task)
        self._service.connections.running += 1
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        service = self._service
        service.connections.app_ended()
        if not task.cancelled() and (error := task.exception()) is not None:
            service.loop.call_exception_handler({"message": "Error in a WebSocket", "exception": error, "task": task})
        if not self._tasks:
            self._share.close()
        if not self._tasks and self._stream.consumer is self:
            self._stream.consumer = None
            self._stream.streams.answered(self._stream)

    async def _app(self, scope: Any, receive: Any, send: Any, sync_spawn: Any, call_soon: Any) -> None:
        service = self._service
        if self._stream.tls is not None:
            scope["extensions"]["tls"] = self._stream.tls
        if service.forwarded is not None:
            service.forwarded.rewrite(scope)
        mount(scope)
        if service.request_ids:
            from ..lane.request_ids import with_request_id

            scope["headers"] = with_request_id(scope["headers"])
            enter_request(scope["headers"][-1][1].decode())
        await serve_websocket(service, scope, receive, send)

    async def _read(self, request: Request) -> None:
        """Hand what comes to the WebSocket, one piece after the other."""
        websocket = self._websocket
        await websocket.handle(request)
        while True:
            while self._incoming:
                data = self._incoming.popleft()
                await websocket.handle(Data(stream_id=self._stream.id, data=data))
                self._share.count(websocket.buffer.length, 0, len(data))
                if self.full:
                    await self._roomy.wait()
                self._waiting = max(0, self._waiting - len(data))
                self._stream.resume_reading()
            if self._ended:
                break
            self._news.clear()
            await self._news.wait()
        await websocket.handle(StreamClosed(stream_id=self._stream.id))

    # message_share.Reading

    def hold(self) -> None:
        self._roomy.clear()

    def resume(self) -> None:
        self._roomy.set()

    def _turned_away(self, code: int, reason: str) -> None:
        """The worker has no room for the message under way, or its client is too slow with it."""
        self.resume()
        self._stream.reset(ENHANCE_YOUR_CALM)

    async def _send(self, event: Event) -> None:
        stream = self._stream
        if isinstance(event, Response):
            common = stream.streams.common
            stream.send_headers(response_block(event.status_code, event.headers, common)[0], False)
        elif isinstance(event, Body | Data):
            stream.send_data(event.data, False)
            await stream.writable()
        elif isinstance(event, EndBody | EndData | StreamClosed):
            stream.send_data(b"", True)
            await stream.writable()
            if not isinstance(event, EndData) and not stream.remote_closed and not stream.gone:
                self._service.loop.call_later(CLOSE_WAIT_S, self._end)

    def _end(self) -> None:
        """The WebSocket is over: do not wait longer for the client to say so."""
        self._stream.reset(NO_ERROR)
