"""For ddtrace-run: its integration with ASGI is a middleware."""

from ddtrace.contrib.asgi import TraceMiddleware
from ddtrace.trace import tracer

from aeros import WebServer

app = WebServer(__name__)
app.asgi_app = TraceMiddleware(app.asgi_app)


@app.route("/")
async def home() -> dict[str, object]:
    return {"right": tracer.current_span() is not None}
