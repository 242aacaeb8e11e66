"""redis: the client at import, its connections in the worker."""

import os

from redis.asyncio import Redis

from aeros import WebServer

redis = Redis(port=int(os.environ["REDIS"]))
app = WebServer(__name__)


@app.after_serving
async def end() -> None:
    await redis.aclose()


@app.route("/")
async def home() -> dict[str, object]:
    return {"right": await redis.incr("visits") > 0}
