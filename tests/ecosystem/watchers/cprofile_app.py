"""cProfile measures the thread it is switched on in: that of the worker's loop."""

import cProfile
import os

from aeros import WebServer

app = WebServer(__name__)
profile = cProfile.Profile()


def busy_work(number: int) -> int:
    return sum(one * one for one in range(number))


@app.before_serving
async def begin() -> None:
    profile.enable()


@app.after_serving
async def end() -> None:
    profile.disable()
    profile.dump_stats(f"{os.getpid()}.prof")


@app.route("/")
async def home() -> dict[str, object]:
    return {"right": busy_work(20_000) > 0}
