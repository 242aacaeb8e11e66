"""quart-session: sessions in redis, of all workers."""

import os

from quart import session
from quart_session import Session

from aeros import WebServer

app = WebServer(__name__)
app.config["SESSION_TYPE"] = "redis"
app.config["SESSION_URI"] = f"redis://127.0.0.1:{os.environ['REDIS']}"
Session(app)


@app.get("/")
async def home() -> dict[str, object]:
    session["visits"] = session.get("visits", 0) + 1
    return {"right": True, "visits": session["visits"]}
