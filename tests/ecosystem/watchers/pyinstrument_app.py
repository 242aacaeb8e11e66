"""pyinstrument around one request, as its documentation has it for Flask and FastAPI."""

from pyinstrument import Profiler

from aeros import WebServer

app = WebServer(__name__)


def busy_work(number: int) -> int:
    return sum(one * one for one in range(number))


@app.route("/")
async def home() -> dict[str, object]:
    with Profiler(interval=0.0005, async_mode="enabled") as profiler:
        busy_work(400_000)
    return {"right": "busy_work" in profiler.output_text()}
