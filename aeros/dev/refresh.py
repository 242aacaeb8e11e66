"""Pages that load themselves again when the app behind them has changed: by server-sent events."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_PATH = "/_aeros/refresh"
# EventSource connects again by itself. A worker that is another one than before has other code.
_SCRIPT = (
    b"<script>(()=>{let seen;new EventSource('" + _PATH.encode() + b"').addEventListener('worker',"
    b"e=>{if(seen&&seen!==e.data)location.reload();seen=e.data})})()</script>"
)
_EVERY_S = 15.0


class Refresh:
    """Adds a script to pages, and answers what it asks for."""

    path = _PATH

    async def answer(self, receive: Receive, send: Send) -> None:
        """Say who we are, and keep the line until this worker or the page goes."""
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        first = f"retry: 100\nevent: worker\ndata: {os.getpid()}\n\n".encode()
        await send({"type": "http.response.body", "body": first, "more_body": True})
        gone = asyncio.ensure_future(_gone(receive))
        try:
            while not gone.done():
                await asyncio.wait([gone], timeout=_EVERY_S)
                await send({"type": "http.response.body", "body": b": here\n\n", "more_body": True})
        finally:
            gone.cancel()

    def around(self, scope: dict[str, Any], send: Send) -> Send:
        """Return what sends a response with the script at its end, where that is a page."""
        added = b"" if scope["method"] == "HEAD" else _SCRIPT
        page = False

        async def sending(message: dict[str, Any]) -> None:
            nonlocal page
            if message["type"] == "http.response.start":
                page = _is_page(message)
                if page:
                    message = {**message, "headers": [_longer(*header) for header in message["headers"]]}
            elif page and message["type"] == "http.response.body" and not message.get("more_body"):
                message = {**message, "body": bytes(message.get("body", b"")) + added}
            await send(message)

        return sending


def _longer(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    return (name, str(int(value) + len(_SCRIPT)).encode()) if name.lower() == b"content-length" else (name, value)


def _is_page(start: dict[str, Any]) -> bool:
    """Only HTML as it is: nothing can be added to what is compressed, nor to an answer without a body."""
    headers = {name.lower(): value for name, value in start.get("headers", ())}
    return (
        headers.get(b"content-type", b"").startswith(b"text/html")
        and b"content-encoding" not in headers
        and start["status"] not in (204, 206, 304)
    )


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
