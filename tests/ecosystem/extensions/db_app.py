"""quart-db with SQLite: its connections are made in before_serving."""

from quart import g
from quart_db import QuartDB

from aeros import WebServer

app = WebServer(__name__)
QuartDB(app, url="sqlite:///shop.db")


@app.get("/")
async def home() -> dict[str, object]:
    return {"right": await g.connection.fetch_val("SELECT 1 + 1") == 2}
