"""The limits on requests that Hypercorn reads: body size, concurrency, time. The rest of them is the fast lane's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ..lane.asgi import CANCEL_GRACE_S
from ..lane.overload import RETRY_AFTER

if TYPE_CHECKING:
    from ..lane.service import Service

Message = dict[str, Any]


class BodyTooLarge(Exception):  # noqa: N818 - reads as the fact it is
    """More of a request body came than --max-body-size allows."""


class BoundedRequest:
    """One request given to the app within the limits, or answered without it. cut: ends a response midway."""

    __slots__ = ("_begun", "_cut", "_expired", "_receive", "_received", "_scope", "_send", "_service")

    def __init__(
        self,
        service: Service,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
        cut: Callable[[], Awaitable[None]],
    ) -> None:
        self._service = service
        self._scope = scope
        self._receive = receive
        self._send = send
        self._cut = cut
        self._begun = False
        self._received = 0
        self._expired: asyncio.Future[None] | None = None

    async def run(self) -> None:
        service = self._service
        limit = service.limits.body_bytes
        if limit is not None and self._announced() > limit:
            await self._answer(413)
            return
        if service.overload is None:
            await self._timed()
            return
        if not await service.overload.enter():
            await self._answer(503, RETRY_AFTER)
            return
        try:
            await self._timed()
        finally:
            service.overload.release()

    async def _timed(self) -> None:
        service = self._service
        bound_s = service.limits.request_timeout_s
        try:
            if bound_s is None:
                await service.app(self._scope, self._receive_counted, self._send_noted)
                return
            expired = self._expired = service.loop.create_future()
            timer = service.loop.call_later(bound_s, expired.set_result, None)
            try:
                async with asyncio.timeout(bound_s + CANCEL_GRACE_S) as bound:
                    await service.app(self._scope, self._receive_counted, self._send_noted)
            except TimeoutError:
                if not bound.expired():
                    raise
            finally:
                timer.cancel()
            if expired.done():
                await self._end(504)
        except* BodyTooLarge:  # Quart 0.23 receives in a task group
            await self._end(413)

    async def _receive_counted(self) -> Message:
        message = await self._receive() if self._expired is None else await self._receive_in_time(self._expired)
        if message["type"] == "http.request":
            self._received += len(message["body"])
            limit = self._service.limits.body_bytes
            if limit is not None and self._received > limit:
                raise BodyTooLarge
        return message

    async def _receive_in_time(self, expired: asyncio.Future[None]) -> Message:
        receiving: asyncio.Future[Any] = asyncio.ensure_future(self._receive())
        try:
            await asyncio.wait({receiving, expired}, return_when=asyncio.FIRST_COMPLETED)
            return receiving.result() if receiving.done() else {"type": "http.disconnect"}
        finally:
            receiving.cancel()

    async def _send_noted(self, message: Message) -> None:
        if self._expired is not None and self._expired.done():
            return
        self._begun = True
        await self._send(message)

    async def _end(self, status: int) -> None:
        if self._begun:
            await self._cut()
        else:
            await self._answer(status)

    async def _answer(self, status: int, *headers: tuple[bytes, bytes]) -> None:
        start = {"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0"), *headers]}
        await self._send(start)
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def _announced(self) -> int:
        for name, value in self._scope["headers"]:
            if name.lower() == b"content-length" and value.isdigit():
                return int(value)
        return 0
