"""What clients see when a server is stopped or reloaded while it answers them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

from . import libraries, programs
from .page import Cells
from .servers import Running, running
from .things import Answer, Request

_CLIENTS: dict[str, Callable[[tuple[str, int], list[Request]], list[Answer]]] = {
    "http.client": libraries.http_client,
    "curl": programs.curl,
    "Node http": programs.node_http,
    "aiohttp": libraries.aiohttp_,
}
_RELOADS = {"aeros": signal.SIGHUP, "uvicorn": signal.SIGHUP, "granian": signal.SIGHUP}
"""By two workers each; Hypercorn has no reload."""


def tried(name: str, app: str, cells: Cells) -> None:
    for client, ask in _CLIENTS.items():
        with running(name, app) as server:
            cells.setdefault((client, "a stop while it is answered"), {})[name] = _stopped(server, ask)
    if name in _RELOADS:
        with running(name, app, workers=2) as server:
            time.sleep(1)  # uvicorn and granian do not tell when all workers are there
            key = "http.client", "new connections while it reloads, 2 workers"
            cells.setdefault(key, {})[name] = _reloaded(server)


def _stopped(server: Running, ask: Callable[..., list[Answer]]) -> str:
    timer = threading.Timer(0.15, server.process.terminate)
    try:
        begun = time.monotonic()
        ask(server.address, [Request("/next")])
        timer.interval = time.monotonic() - begun + 0.15
        timer.start()
        found = ask(server.address, [Request("/slow")])
        return "ok" if found == [Answer(200, "slow")] else f"answer: {found}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:160]
    finally:
        timer.cancel()


def _reloaded(server: Running) -> str:
    os.kill(server.process.pid, _RELOADS[server.name])
    lost, asked, until = 0, 0, time.monotonic() + 5
    while time.monotonic() < until:
        asked += 1
        try:
            lost += libraries.http_client(server.address, [Request("/next")]) != [Answer(200, "next")]
        except OSError:
            lost += 1
        time.sleep(0.002)
    return "ok" if not lost else f"{lost} of {asked} lost"
