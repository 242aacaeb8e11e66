"""httpx: a client for each worker, so that its connections are the worker's own."""

import os

import httpx

from aeros import WebServer

app = WebServer(__name__)


@app.before_serving
async def begin() -> None:
    app.client = httpx.AsyncClient(base_url=f"http://{os.environ['SINK']}", trust_env=False)


@app.after_serving
async def end() -> None:
    await app.client.aclose()


@app.route("/")
async def home() -> dict[str, object]:
    return {"right": (await app.client.post("/", content=b"x")).status_code == 200}
