"""Plain `def` handlers: each runs in a thread, so that several of them wait at the same time."""

import os
import sys
import threading
import time

from aeros import WebServer

VERSION = "v1"

app = WebServer(__name__)
together = threading.Barrier(3)


@app.get("/")
def home() -> dict[str, object]:
    return {"pid": os.getpid(), "generation": app.worker.generation, "version": VERSION}


@app.get("/together")
def meet() -> dict[str, object]:
    """Answered only when three requests are inside at once, each in a thread of its own."""
    together.wait(10)
    return {"pid": os.getpid(), "thread": threading.get_ident(), "main": threading.main_thread().ident}


@app.get("/sleep")
def sleep() -> dict[str, object]:
    time.sleep(0.5)
    return {"pid": os.getpid(), "thread": threading.get_ident()}


if __name__ == "__main__":
    app.start(sys.argv[1:])
