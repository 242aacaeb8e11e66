"""APScheduler in the loop of one worker, that of slot 0: a job is to run once per server."""

from pathlib import Path

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from aeros import WebServer

app = WebServer(__name__)
scheduler = AsyncIOScheduler()


def job() -> None:
    with Path("jobs").open("a") as file:
        file.write(f"{app.worker.slot} {app.worker.generation}\n")


@app.before_serving
async def begin() -> None:
    if app.worker.slot == 0:
        scheduler.add_job(job, "interval", seconds=0.2)
        scheduler.start()


@app.after_serving
async def end() -> None:
    if scheduler.running:
        scheduler.shutdown()


@app.route("/")
async def home() -> dict[str, object]:
    return {"right": scheduler.running == (app.worker.slot == 0)}
