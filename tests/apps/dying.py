"""While the file TESTAPP_SICK exists, its workers die TESTAPP_DIES_AFTER seconds after they are up."""

import asyncio
import os
import sys
from pathlib import Path

from aeros import WebServer

VERSION = "v1"

app = WebServer(__name__)


@app.before_serving
async def fall_ill() -> None:
    if Path(os.environ["TESTAPP_SICK"]).exists():
        asyncio.get_running_loop().call_later(float(os.environ.get("TESTAPP_DIES_AFTER", "0.05")), os._exit, 23)


@app.get("/")
async def home() -> dict[str, object]:
    return {"pid": os.getpid(), "generation": app.worker.generation, "version": VERSION}


if __name__ == "__main__":
    app.start(sys.argv[1:])
