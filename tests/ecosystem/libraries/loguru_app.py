"""loguru with a queue (enqueue=True), whose thread does not go along into a forked worker."""

import sys

from loguru import logger

from aeros import WebServer

logger.remove()
logger.add(sys.stdout, format="loguru says {message}")
app = WebServer(__name__)


@app.before_serving
async def begin() -> None:
    logger.add("queued.log", enqueue=True, format="{message}")


@app.after_serving
async def end() -> None:
    logger.complete()
    logger.remove()


@app.route("/")
async def home() -> dict[str, object]:
    logger.info("somebody came")
    return {"right": True}
