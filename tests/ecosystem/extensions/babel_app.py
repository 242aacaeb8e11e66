"""quart-babel: the language of each request."""

from datetime import date

from quart import request
from quart_babel import Babel, format_date

from aeros import WebServer

app = WebServer(__name__)


def language() -> str:
    return request.args.get("language", "en")


Babel(app, locale_selector=language)


@app.get("/")
async def home() -> dict[str, object]:
    return {"right": True, "date": format_date(date(2026, 3, 1), "long")}
