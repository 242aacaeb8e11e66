"""The demo app: every kind of route there is, served by `scripts/run`.

$ python examples/demo.py               # the embedded defaults: 2 workers on http://127.0.0.1:8000
$ python examples/demo.py -w 4 --port 9000
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

from quart import request, websocket

from aeros import WebServer
from aeros.misc import render_template, sync_to_async

app = WebServer(__name__, workers=2)


@app.route("/")
async def home() -> str:
    return await render_template("home.html", worker=app.worker, status=app.server.status())


@app.route("/json")
async def json() -> dict[str, Any]:
    return {"response": "ok", "pid": os.getpid(), "slot": app.worker.slot, "generation": app.worker.generation}


@app.route("/hello/<name>")
async def hello(name: str) -> dict[str, str]:
    return {"hello": name, "from": request.args.get("from", "Aeros")}


@app.post("/echo")
async def echo() -> bytes:
    return await request.get_data()


@app.route("/plain")
def plain() -> str:
    """A plain def: it runs in the worker's thread pool, so it may block."""
    return "a plain def handler\n"


@sync_to_async
def count_to(limit: int) -> int:
    return sum(1 for _ in range(limit))


@app.route("/count")
async def count() -> dict[str, int]:
    return {"counted": await count_to(100_000)}


@app.route("/events")
async def events() -> tuple[AsyncIterator[bytes], dict[str, str]]:
    """Server-sent events: one a second, until the client leaves."""

    async def stream() -> AsyncIterator[bytes]:
        number = 0
        while True:
            yield f"data: {number}\n\n".encode()
            number += 1
            await asyncio.sleep(1)

    return stream(), {"Content-Type": "text/event-stream"}


@app.websocket("/ws")
async def ws() -> None:
    while True:
        await websocket.send(await websocket.receive())


@app.route("/status")
async def status() -> dict[str, Any]:
    return app.server.status().to_dict()


if __name__ == "__main__":
    app.start(sys.argv[1:])
