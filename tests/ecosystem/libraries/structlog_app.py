"""structlog as its documentation sets it up for JSON."""

import structlog

from aeros import WebServer

structlog.configure(processors=[structlog.contextvars.merge_contextvars, structlog.processors.JSONRenderer()])
log = structlog.get_logger()
app = WebServer(__name__)


@app.route("/")
async def home() -> dict[str, object]:
    structlog.contextvars.bind_contextvars(shop="corner")
    log.info("somebody came")
    return {"right": structlog.contextvars.get_contextvars() == {"shop": "corner"}}
