"""A QueueListener that the program starts at import writes what workers log, in every generation."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.helpers.conditions import eventually

PROGRAM = """
import atexit, logging, logging.config, logging.handlers, os, queue, sys
from aeros import WebServer

SETUP

app = WebServer(__name__)

@app.get("/")
async def home():
    logging.getLogger("shop").warning("sold by %s", os.getpid())
    return {"pid": os.getpid()}

if __name__ == "__main__":
    app.start(sys.argv[1:])
"""
BY_HAND = """
records = queue.QUEUE()
logging.getLogger().addHandler(logging.handlers.QueueHandler(records))
listener = logging.handlers.QueueListener(records, logging.FileHandler("shop.log"))
listener.start()
atexit.register(listener.stop)
"""
BY_CONFIG = """
logging.config.dictConfig({
    "version": 1,
    "handlers": {
        "file": {"class": "logging.FileHandler", "filename": "shop.log"},
        "queued": {"class": "logging.handlers.QueueHandler", "handlers": ["file"]},
    },
    "root": {"handlers": ["queued"]},
})
listener = logging.getHandlerByName("queued").listener
listener.start()
atexit.register(listener.stop)
"""
SETUPS = {
    "Queue": BY_HAND.replace("QUEUE", "Queue"),
    "SimpleQueue": BY_HAND.replace("QUEUE", "SimpleQueue"),
    "dictConfig": BY_CONFIG,
}


@pytest.mark.parametrize("how", SETUPS)
def test_records_of_workers_are_written(serve: Serve, tmp_path: Path, how: str) -> None:
    if how == "dictConfig" and sys.version_info < (3, 12):
        pytest.skip("dictConfig makes listeners from Python 3.12 on")
    server = serve(PROGRAM.replace("SETUP", SETUPS[how]), "-w", "1").ready(1)
    server.expect("live thread", "_monitor")

    def written() -> list[str]:
        return (tmp_path / "shop.log").read_text().splitlines()

    expected: list[str] = []
    for generation in (1, 2):
        for _ in range(3):
            expected.append(f"sold by {server.get().json()['pid']}")
            eventually(lambda: written() == expected, 10, "each record, once")
        if generation == 1:
            server.handle().reload()
            server.settled(2)
    expected += [f"sold by {server.get().json()['pid']}" for _ in range(20)]
    assert server.stop() == 0
    assert written() == expected, "the listener's own exit handler writes the last ones"
