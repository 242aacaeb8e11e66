"""prometheus-client: a counter of the app's own, added up over the workers by `--app-metrics`."""

import prometheus_client

from aeros import WebServer

app = WebServer(__name__)
visits = prometheus_client.Counter("shop_visits", "Visits of the shop")


@app.route("/")
async def home() -> dict[str, object]:
    visits.inc()
    return {"right": True}
