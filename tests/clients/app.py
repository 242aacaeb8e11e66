"""The Quart app that every server serves to the clients under test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from quart import Quart, Response, redirect, request, websocket

app = Quart(__name__)
app.config["MAX_CONTENT_LENGTH"] = 8 << 20
LARGE = b"0123456789abcdef" * (1 << 16)  # 1 MiB


@app.get("/next")
async def next_() -> str:
    return "next"


@app.get("/large")
async def large() -> bytes:
    return LARGE


@app.get("/stream")
async def stream() -> Response:
    async def parts() -> AsyncIterator[bytes]:
        for number in range(20):
            yield b"%02d" % number * 500
            await asyncio.sleep(0)

    return Response(parts(), content_type="text/plain")


@app.get("/slow")
async def slow() -> str:
    await asyncio.sleep(0.3)
    return "slow"


@app.get("/empty")
async def empty() -> tuple[str, int]:
    return "", 204


@app.get("/same")
async def same() -> Response:
    return Response(status=304, headers={"ETag": '"1"'})


@app.get("/away")
async def away() -> object:
    return redirect("/next")


@app.get("/fails")
async def fails() -> str:
    raise RuntimeError("on purpose")


@app.post("/read")
async def read() -> str:
    return str(len(await request.get_data()))


@app.post("/unread")
async def unread() -> str:
    return "unread"


@app.post("/refused")
async def refused() -> tuple[str, int]:
    return "refused", 403


@app.post("/half")
async def half() -> str:
    async for part in request.body:
        return "some" if part else "none"
    return "none"


@app.get("/events")
async def events() -> Response:
    async def each() -> AsyncIterator[bytes]:
        for number in range(5):
            yield b"data: %d\n\n" % number
            await asyncio.sleep(0.1)

    return Response(each(), content_type="text/event-stream")


@app.websocket("/ws")
async def ws() -> None:
    while True:
        await websocket.send(await websocket.receive())
