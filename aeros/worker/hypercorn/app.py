"""The app as Hypercorn's own classes call it, for connections in their hands: `--http hypercorn`, and HTTP/3."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from ...core.request_id import enter_request
from ...core.shared.requests_table import HANDLING, READING, SENDING, STREAMING
from ..http1.parser import RequestRefused, origin_of, split_target
from ..http1.response import check_headers
from ..lane.mount import mount
from ..report.requests_table import described
from ..websocket.handed import serve_websocket

if TYPE_CHECKING:
    from ..accept.proxy_protocol import Announced
    from ..lane.service import Service


class Handed(Protocol):
    """A connection in Hypercorn's hands. requests: those that the app is busy with."""

    tls: dict[str, Any] | None
    announced: Announced | None
    requests: set[Any]

    def drop(self) -> None:
        """Close it: its WebSocket is over."""

    async def cut(self, stream_id: int | None) -> None:
        """End a response midway, with its stream or, where there are none, with the connection."""


class HandedApp:
    """The app as Hypercorn's AppWrapper for one connection: counts, closes while draining, ends WebSockets."""

    def __init__(self, service: Service, connection: Handed) -> None:
        self.service = service
        self.connection = connection

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Any],
        send: Callable[[dict[str, Any]], Any],
        sync_spawn: Callable[..., Any],
        call_soon: Callable[..., Any],
    ) -> None:
        if scope["raw_path"][:1] != b"/":
            try:
                as_origin(scope)
            except RequestRefused as refused:
                await self._refuse(send, refused.status)
                return
        if self.connection.tls is not None:
            scope.setdefault("extensions", {})["tls"] = self.connection.tls
        announced = self.connection.announced
        if announced is not None:
            scope["client"], scope["server"] = announced
        if self.service.forwarded is not None:
            self.service.forwarded.rewrite(scope)
        mount(scope)
        if self.service.request_ids:
            from ..lane.request_ids import with_request_id

            scope["headers"] = with_request_id(scope["headers"])
            enter_request(scope["headers"][-1][1].decode())
        if scope["type"] == "websocket":
            drop = self.connection.drop if scope["http_version"] in ("1.0", "1.1") else None
            await serve_websocket(self.service, scope, receive, send, drop)
        else:
            request = HandedRequest(self.service, scope, receive, send, self.connection)
            self.connection.requests.add(request)
            try:
                await request.run()
            finally:
                self.connection.requests.discard(request)

    async def _refuse(self, send: Callable[[dict[str, Any]], Any], status: int) -> None:
        headers = [(b"content-length", b"0"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def as_origin(scope: dict[str, Any]) -> None:
    """Make the path and the host of a target that is a URL those of the request. Raises RequestRefused."""
    target, host = origin_of(scope.get("method", "GET").encode(), scope["raw_path"])
    scope["raw_path"], scope["path"], _ = split_target(target)
    if host:
        scope["headers"] = [(b"host", host), *(field for field in scope["headers"] if field[0].lower() != b"host")]


class HandedRequest:
    """One HTTP request of any version through Hypercorn."""

    __slots__ = (
        "_bytes_in",
        "_bytes_out",
        "_connection",
        "_receive",
        "_send",
        "_service",
        "_status",
        "row",
        "scope",
        "stage",
        "started",
        "task",
    )
    row: int  # of the in-flight table
    stage: float

    def __init__(self, service: Service, scope: dict[str, Any], receive: Any, send: Any, connection: Handed) -> None:
        self._service = service
        self._connection = connection
        self.scope = scope
        self._receive = receive
        self._send = send
        self._status = 0
        self._bytes_in = self._bytes_out = 0

    async def run(self) -> None:
        counters = self._service.counters
        table = self._service.table
        counters.request_started()
        self.started = perf_counter()
        self.task = asyncio.current_task()
        if table is not None:
            table.begin(self, READING, *described(self.scope))
        try:
            service = self._service
            if service.overload is None and service.limits.body_bytes is None:
                await service.app(self.scope, self.receive, self.send)
            else:
                from .limits import BoundedRequest

                await BoundedRequest(service, self.scope, self.receive, self.send, self._cut).run()
        except Exception:
            self._status = self._status or 500
            raise
        finally:
            seconds = perf_counter() - self.started
            counters.request_finished(self._status, self._bytes_in, self._bytes_out, seconds)
            if table is not None:
                table.end(self)

    async def receive(self) -> Any:
        message = await self._receive()
        if message["type"] == "http.request":
            self._bytes_in += len(message["body"])
            if not message.get("more_body", False):
                self._now(HANDLING)
        return message

    async def send(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if "headers" in message:
            # h2 sends line breaks as they are, which become headers of their own where a proxy turns to HTTP/1.
            check_headers(message["headers"])
        if kind == "http.response.start":
            self._status = int(message["status"])
            if self._service.request_ids:
                from ..lane.request_ids import with_echo

                message = {**message, "headers": with_echo(self.scope, message.get("headers", ()))}
            if self._service.connections.farewell and self.scope["http_version"] in ("1.0", "1.1"):
                headers = list(message.get("headers", ()))
                if not any(bytes(name).lower() == b"connection" for name, _ in headers):
                    headers.append((b"connection", b"close"))
                message = {**message, "headers": headers}
        elif kind == "http.response.body":
            self._bytes_out += len(message.get("body", b""))
            self._now(STREAMING if message.get("more_body", False) else SENDING)
        await self._send(message)

    async def _cut(self) -> None:
        """End the response where it is, so that nobody can take it for complete."""
        # Hypercorn tells an app neither its stream nor a way to reset it; what `send` is bound to knows it.
        stream = getattr(getattr(self._send, "__self__", None), "stream_id", None)
        await self._connection.cut(stream)

    def _now(self, stage: float) -> None:
        if self._service.table is not None:
            self._service.table.stage(self, stage)
