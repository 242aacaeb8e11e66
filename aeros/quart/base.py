"""What a lean Quart is in every version of Quart that we know; lean_quart_022 and lean_quart_023 add the rest.

`class WebServer(LeanQuart, Quart)`. Each method there and here is Quart's own of the same name with the same outcome:
signals without receivers are not sent, hooks that nobody registered are not looked for, a session that cannot exist is
not opened, a coroutine function is not inspected over and over. All of them are ordinary overrides: an app's own
override, in a subclass or on the instance, is called as by Quart. Nothing of Quart, Flask or Werkzeug is patched.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from quart import Quart
from quart.sessions import SecureCookieSessionInterface, SessionMixin
from quart.wrappers import Response

from ..worker.debugging import copies
from .response import LeanJSONProvider, data_response
from .routing import LeanMap

_CO_COROUTINE = inspect.CO_COROUTINE


def _is_coroutine_function(function: Any) -> bool:
    """Tell quickly that `function` is a plain coroutine function; False only means that it takes a closer look."""
    kind = type(function)
    if kind is MethodType:
        function = function.__func__
        kind = type(function)
    return kind is FunctionType and bool(function.__code__.co_flags & _CO_COROUTINE)


def impossible_session(app: Quart) -> SessionMixin | None:
    """Return what Quart's own interface makes for want of a secret key, or None where a session is to be opened."""
    interface = app.session_interface
    if type(interface) is SecureCookieSessionInterface and not app.secret_key:
        return interface.null_session_class()
    return None


def exited(error: SystemExit) -> Exception:
    """Return the error of a request whose handler has called sys.exit(), which is no reason to end the others.

    Raises what it is given in a process that the handler has forked, which is to end by it.
    """
    if copies.is_one:
        raise error
    return RuntimeError(f"the handler called sys.exit({error.code!r})")


if TYPE_CHECKING:
    Base = Quart
else:
    Base = object


class LeanBase(Base):
    """The overrides that are the same for all; see the module. To be put before Quart among the bases."""

    json_provider_class = LeanJSONProvider
    url_map_class = LeanMap

    def ensure_async(self, func: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        """As Quart.ensure_async."""
        if _is_coroutine_function(func):
            return func
        return super().ensure_async(func)

    async def make_response(self, result: Any) -> Any:
        """As Quart.make_response."""
        kind = type(result)
        if kind is Response:
            return result
        if kind is dict or kind is list:
            return self.json.response(result)
        if self.response_class is Response:
            if kind is str or kind is bytes:
                return data_response(result)
            if kind is tuple and len(result) > 1 and type(result[0]) in (str, bytes):
                result = (data_response(result[0]), *result[1:])  # status and headers are Quart's to put on it
        return await super().make_response(result)
