"""The ASGI app that every server serves to the clients and targets under test: it needs no library."""

from __future__ import annotations

import json
from typing import Any

Message = dict[str, Any]


async def app(scope: Message, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
    elif scope["type"] == "http":
        await _echo_scope(scope, send)


async def _lifespan(receive: Any, send: Any) -> None:
    while True:
        kind = (await receive())["type"].removeprefix("lifespan.")
        await send({"type": f"lifespan.{kind}.complete"})
        if kind == "shutdown":
            return


async def _echo_scope(scope: Message, send: Any) -> None:
    shown = {name: scope.get(name) for name in ("method", "path", "root_path")}
    for name in ("raw_path", "query_string"):
        shown[name] = (scope.get(name) or b"").decode("latin1")
    shown["host"] = [value.decode("latin1") for name, value in scope["headers"] if name == b"host"]
    body = json.dumps(shown).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
