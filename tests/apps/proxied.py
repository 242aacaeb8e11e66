"""An app that says how it sees the request: for tests with proxies in front."""

import hashlib
import os
import sys

from quart import request, url_for, websocket

from aeros import WebServer

VERSION = "v1"

app = WebServer(__name__)


def seen(asked) -> dict[str, object]:
    return {
        "pid": os.getpid(),
        "generation": app.worker.generation,
        "version": VERSION,
        "client": asked.remote_addr,
        "scheme": asked.scheme,
        "host": asked.host,
        "root": asked.root_path,
        "path": asked.path,
        "http": asked.http_version,
        "headers": {name.lower(): value for name, value in asked.headers.items()},
    }


@app.get("/seen")
async def look() -> dict[str, object]:
    return {**seen(request), "url": url_for("look", _external=True)}


@app.post("/upload")
async def upload() -> dict[str, object]:
    body = await request.get_data()
    return {**seen(request), "digest": hashlib.sha256(body).hexdigest()}


@app.get("/")
async def home() -> dict[str, object]:
    return seen(request)


@app.websocket("/ws")
async def socket() -> None:
    await websocket.send_json(seen(websocket))


if __name__ == "__main__":
    app.start(sys.argv[1:])
