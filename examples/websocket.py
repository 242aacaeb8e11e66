"""WebSockets and server-sent events, and how each learns that its worker ends.

$ python examples/websocket.py
$ curl -N http://127.0.0.1:8000/events
"""

import asyncio
from collections.abc import AsyncIterator

from quart import websocket

from aeros import WebServer

app = WebServer(__name__, workers=2)


@app.websocket("/echo")
async def echo() -> None:
    # At a reload the client is sent close code 1012, at a stop 1001; then receive() raises CancelledError here.
    try:
        while True:
            await websocket.send(await websocket.receive())
    except asyncio.CancelledError:
        print("a WebSocket has ended", flush=True)
        raise


@app.route("/events")
async def events() -> tuple[AsyncIterator[bytes], dict[str, str]]:
    async def stream() -> AsyncIterator[bytes]:
        number = 0
        while True:
            # EventSource clients reconnect by themselves, and say which event was the last they saw.
            yield f"id: {number}\ndata: {number}\n\n".encode()
            number += 1
            await asyncio.sleep(1)

    return stream(), {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}


if __name__ == "__main__":
    app.start()
