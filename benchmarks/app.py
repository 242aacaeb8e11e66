"""The app every server is measured with: the same routes on quart.Quart for the peers, on WebServer for Aeros.

python -m benchmarks.app -w 2 --bind 127.0.0.1:9000      # Aeros
hypercorn -w 2 -k uvloop benchmarks.app:app              # a peer
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

if __name__ == "__main__":
    from aeros import WebServer

from quart import Quart, render_template, request, websocket

app: Quart = WebServer(__name__) if __name__ == "__main__" else Quart(__name__)

app.config["MAX_CONTENT_LENGTH"] = 64 * 1024 * 1024
LARGE = os.urandom(50 * 1024).hex().encode()
CHUNK = b"0123456789abcdef" * 64
ITEMS = [{"name": f"item {number}", "price": number * 3} for number in range(12)]


@app.route("/json")
async def json() -> dict[str, Any]:
    return {"response": "ok", "items": [1, 2, 3], "user": {"name": "aeros", "id": 7}}


@app.route("/hello/<name>/<int:number>")
async def hello(name: str, number: int) -> dict[str, Any]:
    return {"hello": name, "number": number, "from": request.args.get("from", "nobody")}


@app.post("/echo")
async def echo() -> str | bytes:
    return await request.get_data()


@app.post("/form")
async def form() -> dict[str, str]:
    fields = await request.form
    return {"name": fields["name"], "email": fields["email"]}


@app.route("/template")
async def template() -> str:
    return await render_template("page.html", title="Aeros & others", items=ITEMS)


@app.route("/stream")
async def stream() -> tuple[AsyncIterator[bytes], dict[str, str]]:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield CHUNK

    return chunks(), {"Content-Type": "application/octet-stream"}


@app.route("/large")
async def large() -> tuple[bytes, dict[str, str]]:
    return LARGE, {"Content-Type": "application/octet-stream"}


@app.route("/text")
async def text() -> tuple[str, dict[str, str]]:
    return "Hello, world!", {"Content-Type": "text/plain"}


@app.route("/def")
def plain() -> str:
    return "from a thread"


@app.websocket("/ws")
async def ws() -> None:
    while True:
        await websocket.send(await websocket.receive())


@app.route("/pid")
async def pid() -> str:
    return str(os.getpid())


@app.route("/slow")
async def slow() -> str:
    """Something to be in flight when a worker goes."""
    import asyncio

    await asyncio.sleep(float(request.args.get("seconds", "0.05")))
    return str(os.getpid())


@app.route("/block")
async def block() -> str:
    """A handler that holds its event loop."""
    time.sleep(float(request.args.get("seconds", "0.5")))  # noqa: ASYNC251
    return str(os.getpid())


if __name__ == "__main__":
    app.start(sys.argv[1:])  # type: ignore[attr-defined]
