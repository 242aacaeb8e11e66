"""What a program brings along that cannot be served here: another event loop, patched modules. For the rest see asgi.

It is said at the start, by name. Without that the server would say "ready" and fail at each request.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

from ...errors import AppLoadError

#: So many middlewares around an app are looked through.
_MOST_LAYERS = 32


def check_app(app: Any) -> None:
    """Raise AppLoadError, saying what is in the way, if `app` cannot be served by this process."""
    _check_modules()
    _check_loop(app)


def _check_loop(app: Any) -> None:
    """Refuse an app that runs on Trio's loop only; workers have asyncio's or uvloop's."""
    for layer in _layers(app):
        if any(kind.__module__.partition(".")[0] == "quart_trio" for kind in type(layer).__mro__):
            raise AppLoadError(
                f"the app is a {type(layer).__name__}, which needs Trio's event loop, and Aeros runs asyncio and "
                "uvloop: make it a quart.Quart or an aeros.WebServer, or serve it by hypercorn -k trio"
            )


def _layers(app: Any) -> Iterator[Any]:
    """Yield the app, and the app within each middleware around it, which these keep as `app`."""
    for _ in range(_MOST_LAYERS):
        yield app
        # Its own attributes alone: a property would run code of the app.
        within = getattr(app, "__dict__", {}).get("app")
        if within is None:
            return
        app = within


def _check_modules() -> None:
    """Refuse a process whose standard modules gevent or eventlet have replaced.

    Their fork, signal and socket wait in a loop of their own, which asyncio's workers do not turn.
    """
    for name, patched in (("gevent", _patched_by_gevent), ("eventlet", _patched_by_eventlet)):
        if patched():
            raise AppLoadError(
                f"{name} has patched Python's standard modules (monkey patching), and the workers run asyncio, which "
                f"cannot work with them; serve this program without {name}'s monkey patching"
            )


def _patched_by_gevent() -> bool:
    """Whether gevent.monkey has replaced anything."""
    monkey = sys.modules.get("gevent.monkey")
    # Since gevent 21.1; older ones keep what they have replaced in a dictionary.
    asked: Callable[[], Any] | None = getattr(monkey, "is_anything_patched", None)
    return bool(asked() if asked is not None else getattr(monkey, "saved", None))


def _patched_by_eventlet() -> bool:
    """Whether eventlet.patcher has replaced anything."""
    patcher = sys.modules.get("eventlet.patcher")
    return bool(getattr(patcher, "already_patched", None))
