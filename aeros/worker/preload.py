"""Importing whatever a worker may ever need, before it is forked.

What a worker imports by itself it has for itself alone. And it may come to that days later, when a deployment has put
another version of this package in its place.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING

from ..compat import knows_quart

if TYPE_CHECKING:
    from ..options import Options


def preload(options: Options) -> None:
    """Import it, as far as these options ask for it."""
    for name in _needed(options):
        import_module(f"{__package__}.{name}")
    if options.worker_class == "uvloop":
        import_module("uvloop")


def _needed(options: Options) -> Iterator[str]:
    yield from ("main", "slow_clients", "websocket_connection", "http2_push", "http2_slow", "http2_websocket")
    if "quart" in sys.modules and knows_quart():  # a plain ASGI app must not need Quart
        yield from ("quart_exchange", "quart_forms")
    if options.http != "lane":
        yield from ("handover", "handed_limits")
    if options.forwarded_allow:
        yield from ("forwarded", "http1_forwarded")
    if options.proxy_protocol:
        yield "proxy_protocol"
    if options.request_id:
        yield "request_ids"
    if options.slow_request_s:
        yield "slow"
    if options.queue_timeout_s is not None:
        yield "shedding"
    elif options.max_concurrency is not None or options.request_timeout_s is not None:
        yield "overload"
    if options.use_reloader:
        yield "watch"
    if options.tls:
        yield "tls"
    if options.quic_binds:
        yield "quic"
    if options.debug_faults:
        yield "misbehaviour"
