"""python-json-logger for the app's own records."""

import logging
import sys

from pythonjsonlogger.json import JsonFormatter

from aeros import WebServer

handler = logging.StreamHandler(sys.stdout)
handler.setFormatter(JsonFormatter("%(levelname)s %(name)s %(message)s"))
logging.basicConfig(handlers=[handler], level="INFO")
app = WebServer(__name__)


@app.route("/")
async def home() -> dict[str, object]:
    logging.getLogger("shop").info("somebody came", extra={"basket": 7})
    return {"right": True}
