"""quart-rate-limiter: its store is a dict of each worker's, unless it is redis."""

import os
from datetime import timedelta

from quart_rate_limiter import RateLimiter, rate_limit
from quart_rate_limiter.redis_store import RedisStore

from aeros import WebServer

app = WebServer(__name__)
RateLimiter(app, store=RedisStore(f"redis://127.0.0.1:{os.environ['REDIS']}"))


@app.get("/")
async def home() -> dict[str, object]:
    return {"right": True}


@app.get("/seldom")
@rate_limit(3, timedelta(minutes=10))
async def seldom() -> dict[str, object]:
    return {"right": True}
