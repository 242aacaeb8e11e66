"""Spans of OpenTelemetry for each request, through its standard instrumentation for ASGI.

    pip install opentelemetry-sdk opentelemetry-instrumentation-asgi
    TRACES=spans.jsonl python examples/tracing.py
    curl http://127.0.0.1:8000/orders/7

Without TRACES the spans are printed. For a collector put OTLPSpanExporter of opentelemetry-exporter-otlp where
ConsoleSpanExporter is.
"""

import asyncio
import os
import sys
from pathlib import Path

from opentelemetry import trace
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

import aeros
from aeros import WebServer, WorkerInfo

app = WebServer(__name__, workers=2, request_id=True)
tracer = trace.get_tracer(__name__)


def as_line(span: ReadableSpan) -> str:
    return (span.to_json(indent=None) or "") + "\n"


@app.after_fork
def start_tracing(worker: WorkerInfo) -> None:
    # The processor exports from a thread of its own, and threads do not survive a fork: so in each worker, not above.
    about = Resource.create({"service.name": "orders", "service.instance.id": f"{worker.slot}.{worker.pid}"})
    provider = TracerProvider(resource=about)
    # By the line, so that those of several workers stay whole.
    out = Path(os.environ["TRACES"]).open("a", buffering=1) if "TRACES" in os.environ else sys.stdout  # noqa: SIM115
    provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter(out=out, formatter=as_line)))
    trace.set_tracer_provider(provider)
    app.asgi_app = OpenTelemetryMiddleware(app.asgi_app, exclude_spans=["receive", "send"])  # type: ignore[method-assign]


@app.after_serving
async def stop_tracing() -> None:
    # What was not exported yet would end with the worker. It waits for the exporter, so not on the event loop.
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        await asyncio.to_thread(provider.shutdown)


@app.route("/orders/<int:number>")
async def order(number: int) -> dict[str, object]:
    trace.get_current_span().set_attribute("request.id", aeros.request_id())
    with tracer.start_as_current_span("look it up") as span:
        span.set_attribute("order", number)
        await asyncio.sleep(0.01)
    return {"order": number, "slot": app.worker.slot}


if __name__ == "__main__":
    app.start()
