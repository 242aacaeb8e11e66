"""For opentelemetry-instrument, which makes the provider. It knows no Quart, so a middleware is put around it."""

from opentelemetry import trace
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

from aeros import WebServer

app = WebServer(__name__)
app.asgi_app = OpenTelemetryMiddleware(app.asgi_app)


@app.route("/")
async def home() -> dict[str, object]:
    with trace.get_tracer("shop").start_as_current_span("inner work"):
        return {"right": trace.get_current_span().get_span_context().is_valid}
