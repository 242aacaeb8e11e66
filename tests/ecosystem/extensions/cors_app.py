"""quart-cors."""

from quart_cors import cors

from aeros import WebServer

app = WebServer(__name__)
cors(app, allow_origin="https://example.com")


@app.get("/")
async def home() -> dict[str, object]:
    return {"right": True}
