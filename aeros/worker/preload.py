"""Importing whatever a worker may ever need, before it is forked.

What a worker imports by itself it has for itself alone. And it may come to that days later, when a deployment has put
another version of this package in its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..options import Options


def preload(options: Options) -> None:
    """Import it, as far as these options ask for it."""
    for name in _needed(options):
        import_module(f"aeros.{name}")
    if options.worker_class == "uvloop":
        import_module("uvloop")


def _needed(options: Options) -> Iterator[str]:
    yield from ("worker.hosted", "worker.main", "worker.http2.websocket", "worker.report.profiler")
    if options.http != "lane":
        yield from ("worker.hypercorn.connection", "worker.hypercorn.limits")
    if options.forwarded_allow:
        yield from ("worker.lane.forwarded", "worker.http1.forwarded")
    if options.proxy_protocol:
        yield "worker.accept.proxy_protocol"
    if options.request_id:
        yield "worker.lane.request_ids"
    if options.admin is not None:
        yield "worker.report.route_figures"
    if options.slow_request_s:
        yield "worker.report.slow_requests"
    if options.queue_timeout_s is not None:
        yield "worker.lane.shedding"
    elif options.max_concurrency is not None or options.request_timeout_s is not None:
        yield "worker.lane.overload"
    if options.use_reloader:
        yield "worker.watch"
    if options.tls:
        yield "worker.accept.tls"
    if options.quic_binds:
        yield "worker.http3.endpoint"
    if options.debug_faults:
        yield "worker.debugging.misbehaviour"
