"""elastic-apm by its ASGI middleware."""

import os

from elasticapm import get_client
from elasticapm.contrib.asgi import ASGITracingMiddleware

from aeros import WebServer

app = WebServer(__name__)
app.asgi_app = ASGITracingMiddleware(
    app.asgi_app,
    server_url=f"http://{os.environ['SINK']}",
    service_name="shop",
    central_config=False,
    cloud_provider=None,
)


@app.route("/")
async def home() -> dict[str, object]:
    return {"right": get_client() is not None}
