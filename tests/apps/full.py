"""An app with a route for everything the tests do to a server; TESTAPP_* set what it does outside routes."""

import asyncio
import hashlib
import os
import random
import re
import signal
import sys
import time
from pathlib import Path

from quart import Response, request, websocket

from aeros import WebServer

VERSION = "v1"

app = WebServer(__name__)
kept: list[bytes] = []


def note(event: str) -> None:
    """One line in the file of events, if the test wants one; appends of a short line are whole."""
    path = os.environ.get("TESTAPP_EVENTS")
    if path:
        with Path(path).open("a") as events:
            events.write(f"{event} {os.getpid()} {VERSION}\n")


note("imported")


def who() -> dict[str, object]:
    return {
        "pid": os.getpid(),
        "slot": app.worker.slot,
        "generation": app.worker.generation,
        "version": VERSION,
    }


@app.before_serving
async def begin() -> None:
    note("before_serving")


@app.after_serving
async def end() -> None:
    note("after_serving")
    how = os.environ.get("TESTAPP_AFTER_SERVING")
    if how == "hang":
        await asyncio.Event().wait()
    elif how == "block":
        time.sleep(600)
    elif how == "raise":
        raise RuntimeError("after_serving is broken on purpose")


@app.get("/")
async def home() -> dict[str, object]:
    return who()


@app.get("/slow")
async def slow() -> dict[str, object]:
    await asyncio.sleep(float(request.args.get("s", "1")))
    return who()


@app.get("/held")
async def held() -> dict[str, object]:
    """Not over before the file exists: a test that looks at it meanwhile may take its time."""
    while not Path(request.args["until"]).exists():  # noqa: ASYNC110 - another process makes it
        await asyncio.sleep(0.02)
    return who()


@app.get("/status")
async def status() -> dict[str, object]:
    return app.server.status().to_dict()


@app.get("/requests")
async def requests() -> dict[str, object]:
    return {"requests": [one.to_dict() for one in app.server.requests()]}


@app.get("/code/<int:code>")
async def code(code: int) -> tuple[dict[str, object], int]:
    return who(), code


@app.get("/raise")
async def raising() -> None:
    raise LookupError("broken on purpose")


@app.post("/upload")
async def upload() -> dict[str, object]:
    body = await request.get_data()
    return {**who(), "digest": hashlib.sha256(body).hexdigest(), "length": len(body)}


@app.get("/sse")
async def sse() -> Response:
    async def events():
        number = 0
        while True:
            yield f"data: {number}\n\n".encode()
            number += 1
            await asyncio.sleep(0.1)

    response = Response(events(), content_type="text/event-stream")
    response.timeout = None
    return response


@app.websocket("/ws")
async def echo() -> None:
    await websocket.send_json(who())
    while True:
        await websocket.send(await websocket.receive())


@app.websocket("/ws-block")
async def echo_and_block() -> None:
    await websocket.accept()
    time.sleep(float(websocket.args.get("s", "60")))


@app.get("/block")
async def block() -> dict[str, object]:
    time.sleep(float(request.args.get("s", "60")))
    return who()


@app.get("/regex")
async def regex() -> dict[str, object]:
    """Never gives the GIL up: a match that would take years, inside one call into C."""
    re.match(r"(a+)+$", "a" * 64 + "b")
    return who()


@app.get("/sum")
async def summing() -> dict[str, object]:
    """As /regex, but the call does not even look for signals."""
    sum(range(1 << 60))
    return who()


@app.get("/die")
async def die() -> None:
    how = request.args.get("how", "kill")
    if how == "exit":
        os._exit(int(request.args.get("code", "1")))
    os.kill(os.getpid(), getattr(signal, f"SIG{how.upper()}"))
    await asyncio.sleep(60)


@app.get("/leak")
async def leak() -> dict[str, object]:
    kept.append(os.urandom(1 << 20) * int(request.args.get("mib", "1")))
    return who()


@app.get("/random")
async def randoms() -> dict[str, object]:
    drawn: dict[str, object] = {**who(), "random": random.random()}
    if "numpy" in sys.modules:
        drawn["numpy"] = float(sys.modules["numpy"].random.random())
    return drawn


if __name__ == "__main__":
    app.start(sys.argv[1:])
