"""debugpy listens in each worker, at a port that no other worker has."""

import os

import debugpy

from aeros import WebServer

app = WebServer(__name__)


@app.before_serving
async def debug() -> None:
    debugpy.configure(subProcess=False)
    _, app.port = debugpy.listen(("127.0.0.1", 0))


@app.route("/")
async def home() -> dict[str, object]:
    return {"right": app.port > 0, "port": app.port, "pid": os.getpid()}
