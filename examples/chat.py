"""A chat over WebSockets: who is in the room hears what the others say.

$ python examples/chat.py

One worker, for a room is in the memory of its worker. For several workers let Redis carry the messages between them:
docs/how-to/websocket-broadcast.md.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from quart import websocket

from aeros import WebServer

app = WebServer(__name__, workers=1)
rooms: dict[str, set[asyncio.Queue[str]]] = {}


@contextmanager
def entered(room: str) -> Iterator[asyncio.Queue[str]]:
    mine: asyncio.Queue[str] = asyncio.Queue()
    rooms.setdefault(room, set()).add(mine)
    try:
        yield mine
    finally:
        rooms[room].discard(mine)
        if not rooms[room]:
            del rooms[room]


async def pass_on(mine: asyncio.Queue[str]) -> None:
    while True:
        await websocket.send(await mine.get())


@app.websocket("/<room>/<name>")
async def chat(room: str, name: str) -> None:
    with entered(room) as mine:
        reader = asyncio.create_task(pass_on(mine))
        try:
            while True:
                said = await websocket.receive()
                for each in rooms[room]:
                    each.put_nowait(f"{name}: {said}")
        finally:
            reader.cancel()


if __name__ == "__main__":
    app.start()
