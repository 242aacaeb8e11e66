"""quart-flask-patch: an extension of Flask's, here a plain one, in front of Quart."""

import quart_flask_patch  # noqa: F401, I001 - first, as its documentation says
import flask

from aeros import WebServer

app = WebServer(__name__)


@app.get("/")
async def home() -> dict[str, object]:
    return {"right": flask.request.path == "/" and flask.url_for("home") == "/"}
