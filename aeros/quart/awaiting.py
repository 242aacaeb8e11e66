"""Finding the forgotten `await`: saying which call it was, instead of "coroutine is not JSON serializable"."""

from __future__ import annotations

import inspect
from typing import Any

from quart.json.provider import DefaultJSONProvider

from .lean import LeanJSONProvider


class NotAwaitedError(TypeError):
    """A handler returned, or put into its answer, a call that it did not await."""


def not_awaited(value: Any) -> NotAwaitedError:
    """Return the error for a coroutine found where a value should be, and let go of the coroutine quietly."""
    name = _name_of(value)
    value.close()
    return NotAwaitedError(f"{name}() was called but not awaited: write `await {name}(…)`")


def _name_of(coroutine: Any) -> str:
    # A function made by sync_to_async is called through a coroutine of asgiref's; the name is the function's.
    frame = coroutine.cr_frame
    wrapper = frame.f_locals.get("self") if frame is not None else None
    wrapped = getattr(wrapper, "func", None)
    name = getattr(wrapped, "__name__", None) or coroutine.__name__
    return str(name)


class AwaitingJSONProvider(LeanJSONProvider):
    """Quart's JSON, with an error that helps where a coroutine stands in the data."""

    @staticmethod
    def default(object_: Any) -> Any:
        if inspect.iscoroutine(object_):
            raise not_awaited(object_)
        return DefaultJSONProvider.default(object_)
