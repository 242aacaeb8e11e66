"""Every hook, and the process each one runs in.

    python examples/hooks.py
    curl http://127.0.0.1:8000/      # which hooks this worker has seen

What runs in the zygote is printed, since no worker can see it.
"""

import os
import sqlite3
from collections.abc import AsyncGenerator
from typing import Any

from aeros import Reloaded, WebServer, WorkerInfo

app = WebServer(__name__, workers=2)
seen: list[str] = []
connections: dict[str, sqlite3.Connection] = {}


def say(text: str) -> None:
    print(f"pid {os.getpid()}: {text}", flush=True)


@app.before_fork
def before_fork(worker: WorkerInfo) -> None:
    say(f"before_fork: slot {worker.slot} of generation {worker.generation} is about to be forked")


@app.after_fork
def after_fork(worker: WorkerInfo) -> None:
    # A connection must not be shared by two processes, so each worker opens its own.
    connections["main"] = sqlite3.connect(":memory:", check_same_thread=False)
    seen.append("after_fork")


@app.before_serving
async def before_serving() -> None:
    seen.append("before_serving")


@app.while_serving
async def while_serving() -> AsyncGenerator[None, None]:
    seen.append("while_serving")
    yield
    say("while_serving: this worker is ending")


@app.worker_ready
async def worker_ready() -> None:
    seen.append("worker_ready")


@app.after_serving
async def after_serving() -> None:
    say("after_serving: this worker is ending")


@app.worker_exit
def worker_exit(worker: WorkerInfo) -> None:
    say(f"worker_exit: pid {worker.pid} of slot {worker.slot} has ended: {worker.how}")


@app.on_reload
def on_reload(outcome: Reloaded) -> None:
    say(f"on_reload: {'generation ' + str(outcome.generation) if outcome.ok else 'refused: ' + outcome.reason}")


@app.route("/")
async def home() -> dict[str, Any]:
    (answer,) = connections["main"].execute("select 6 * 7").fetchone()
    return {"pid": os.getpid(), "slot": app.worker.slot, "seen": seen, "database": answer}


if __name__ == "__main__":
    app.start()
