"""The id of the request that the running code belongs to: a context variable, so that its tasks and threads have it."""

from __future__ import annotations

from contextvars import ContextVar

_current: ContextVar[str] = ContextVar("aeros_request_id", default="")

#: Called by the worker, in the request's own task, before the app is.
enter_request = _current.set


def request_id() -> str:
    """Return the X-Request-ID of the request that is being handled; "" outside of one, and without --request-id.

    Also in what a handler calls through sync_to_async or create_task, and in WebSocket handlers.
    """
    return _current.get()
