"""An app of its own, for tools that are put around it."""

import os
import sys

from aeros import WebServer

app = WebServer(__name__)


def busy_work(number: int) -> int:
    return sum(one * one for one in range(number))


@app.route("/")
async def home() -> dict[str, object]:
    return {"right": busy_work(20_000) > 0, "pid": os.getpid()}


if __name__ == "__main__":
    app.start(sys.argv[1:])
