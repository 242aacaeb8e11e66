"""Writes down in which process each hook runs."""

import os
import sys
from pathlib import Path

from aeros import WebServer

VERSION = "v1"

app = WebServer(__name__)


def note(event: str) -> None:
    with Path(os.environ["TESTAPP_EVENTS"]).open("a") as events:
        events.write(f"{event} {os.getpid()} {os.getppid()} {VERSION}\n")


@app.before_fork
def before_fork(*_: object) -> None:
    note("before_fork")


@app.after_fork
def after_fork(*_: object) -> None:
    note("after_fork")


@app.worker_ready
def worker_ready(*_: object) -> None:
    note("worker_ready")


@app.worker_exit
def worker_exit(*_: object) -> None:
    note("worker_exit")


@app.on_reload
def on_reload(*_: object) -> None:
    note("on_reload")


@app.before_serving
async def before_serving() -> None:
    note("before_serving")


@app.after_serving
async def after_serving() -> None:
    note("after_serving")


@app.while_serving
async def while_serving():
    note("while_serving begins")
    yield
    note("while_serving ends")


@app.get("/")
async def home() -> dict[str, object]:
    return {"pid": os.getpid(), "generation": app.worker.generation, "version": VERSION}


if __name__ == "__main__":
    app.start(sys.argv[1:])
