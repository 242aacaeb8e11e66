"""sentry-sdk, set up at import; what it has not sent yet is sent by its exit handler."""

import os

import sentry_sdk

from aeros import WebServer

#: Not as brotli, which it takes where that happens to be installed: the collector of the trial cannot read it.
readable = {"transport_compression_algo": "gzip"}
sentry_sdk.init(dsn=f"http://key@{os.environ['SINK']}/1", traces_sample_rate=1.0, _experiments=readable)
app = WebServer(__name__)


@app.route("/")
async def home() -> dict[str, object]:
    return {"right": sentry_sdk.is_initialized()}


@app.route("/broken/<int:number>")
async def broken(number: int) -> None:
    raise LookupError(f"broken on purpose {number}")
