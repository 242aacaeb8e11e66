"""quart-compress."""

from quart_compress import Compress

from aeros import WebServer

app = WebServer(__name__)
Compress(app)


@app.get("/")
async def home() -> dict[str, object]:
    return {"right": True}


@app.get("/large")
async def large() -> dict[str, object]:
    return {"words": ["word"] * 1000}
