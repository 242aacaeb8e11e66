"""quart-tasks: each worker has its tasks, so the one of slot 0 alone does the work."""

from datetime import timedelta
from pathlib import Path

from quart_tasks import QuartTasks

from aeros import WebServer

app = WebServer(__name__)
tasks = QuartTasks(app)


@tasks.periodic(timedelta(seconds=0.2))
async def job() -> None:
    if app.worker.slot == 0:
        note()


def note() -> None:
    with Path("jobs").open("a") as file:
        file.write(f"{app.worker.slot} {app.worker.generation}\n")


@app.get("/")
async def home() -> dict[str, object]:
    return {"right": True}
