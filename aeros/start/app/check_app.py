"""What is an ASGI app, and what is it instead, where it is none."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from ...errors import AppLoadError
from .obstacles import check_app

_FACTORY = "A factory is written with (): module:factory()"


class DoubleCallable:
    """An app of ASGI 2, called with the scope first and with receive and send then, as one of ASGI 3."""

    def __init__(self, app: Callable[[dict[str, Any]], Callable[[Any, Any], Awaitable[None]]]) -> None:
        self._app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        await self._app(scope)(receive, send)


def asgi_app(app: Any) -> Any:
    """Return `app` as what is called with scope, receive and send. Raises AppLoadError, saying what it is instead.

    A plain callable may return a coroutine, and whether it does is only seen when it is called; so what counts is
    which arguments it takes.
    """
    check_app(app)
    if not callable(app):
        raise AppLoadError(f"{app!r} ({type(app).__name__}) is not an ASGI app: it cannot be called")
    if callable(getattr(app, "wsgi_app", None)) and not _is_async(app):
        raise AppLoadError(
            f"{app!r} is a WSGI app (Flask?); Aeros serves ASGI apps: give it asgiref.wsgi.WsgiToAsgi(app), or "
            "use Quart"
        )
    if inspect.isclass(app):
        return _of_class(app)
    if _takes(app, 3):
        return app
    if not _is_async(app) and _parameters(app) == ["scope"]:
        return DoubleCallable(app)
    if _is_async(app):
        raise AppLoadError(f"{app!r} is async, but does not take scope, receive and send, as an ASGI app does")
    if len(_parameters(app)) == 2:
        raise AppLoadError(
            f"{app!r} takes two arguments, as a WSGI app does; an ASGI app takes scope, receive and send. "
            "asgiref.wsgi.WsgiToAsgi(app) makes one of it"
        )
    raise AppLoadError(f"{app!r} is not an ASGI app: it does not take scope, receive and send. {_FACTORY}")


def _of_class(kind: Any) -> Any:
    """An object is made for each request: of ASGI 3 it is awaited (Starlette's endpoints), of ASGI 2 called."""
    if hasattr(kind, "__await__") and _takes(kind, 3):
        return kind
    if _takes(kind, 1) and "__call__" in vars(kind) and _takes(kind.__call__, 3):  # self, receive, send
        return DoubleCallable(kind)
    raise AppLoadError(f"{kind!r} is a class, not an app; give an instance of it, or module:factory()")


def _is_async(app: Any) -> bool:
    return inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(getattr(app, "__call__", None))  # noqa: B004


def _takes(function: Any, count: int) -> bool:
    """Tell whether it can be called with so many arguments, and needs at least one or takes any number."""
    try:
        signature = inspect.signature(function)
        signature.bind(*range(count))
    except TypeError:
        return False
    except ValueError:
        return True  # of a function in C nobody knows
    kinds = signature.parameters.values()
    return any(
        one.kind is one.VAR_POSITIONAL or (one.default is one.empty and one.kind is not one.VAR_KEYWORD)
        for one in kinds
    )


def _parameters(function: Any) -> list[str]:
    """Return the names of the arguments that it needs."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [one.name for one in parameters if one.default is one.empty and one.kind < one.VAR_POSITIONAL]
