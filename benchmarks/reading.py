"""The app of scripts/bytes: reads all it is sent, and can say how long the event loop was kept in one turn at most."""

from __future__ import annotations

import asyncio
import time
from typing import Any

TICK_S = 0.001
_turns: list[float] = []


async def _watch() -> None:
    """Note the processor time between two ticks: a turn of the loop, if it takes longer than a tick."""
    before = time.thread_time()
    while True:
        await asyncio.sleep(TICK_S)
        now = time.thread_time()
        _turns.append(now - before)
        before = now


_watching: list[asyncio.Task[None]] = []


def _longest_turn() -> bytes:
    """Return the longest turn since the last time this was asked, in milliseconds, and watch from now on."""
    if not _watching:
        _watching.append(asyncio.get_running_loop().create_task(_watch()))
    longest = max(_turns, default=0.0)
    _turns.clear()
    return b"%.2f" % (longest * 1000)


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await _answer(scope, receive, send)
    elif scope["type"] == "websocket":
        await _talk(receive, send)
    else:
        await _live(receive, send)


async def _answer(scope: Any, receive: Any, send: Any) -> None:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        more = message.get("more_body", False)
    body = _longest_turn() if scope["path"] == "/longest" else b"read"
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _talk(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        if message["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
        elif message["type"] == "websocket.disconnect":
            return
        elif message.get("text") == "end":
            await send({"type": "websocket.send", "text": "read"})


async def _live(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
