"""SQLAlchemy with asyncio: the engine at import, its connections in the worker."""

import os

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import create_async_engine

from aeros import WebServer

engine = create_async_engine(os.environ.get("DATABASE", "sqlite+aiosqlite:///shop.db"))
app = WebServer(__name__)


@app.after_serving
async def end() -> None:
    await engine.dispose()


@app.route("/")
async def home() -> dict[str, object]:
    async with engine.connect() as connection:
        found = (await connection.execute(select(text("1 + 1")))).scalar_one()
    return {"right": found == 2}
