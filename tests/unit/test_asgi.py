"""Which apps are served, and what is said of the others."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest

from aeros.errors import AppLoadError
from aeros.start.app.check_app import asgi_app


async def three(scope: Any, receive: Any, send: Any) -> None:
    await send(scope)


class Plain:
    def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        return three(scope, receive, send)


class Any2:
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return three(*args, **kwargs)


class Two:
    def __init__(self, scope: Any) -> None:
        self.scope = scope

    async def __call__(self, receive: Any, send: Any) -> None:
        await send(self.scope)


class Endpoint:
    def __init__(self, scope: Any, receive: Any, send: Any) -> None:
        self.call = (scope, receive, send)

    def __await__(self) -> Any:
        return three(*self.call).__await__()


def two(scope: Any) -> Any:
    return functools.partial(three, scope)


def short() -> Any:
    return lambda scope, receive, send: three(scope, receive=receive, send=send)


@pytest.mark.parametrize("app", [three, Plain(), Any2(), Two, Endpoint, two, short(), functools.partial(three)])
def test_served(app: Any) -> None:
    sent: list[object] = []

    async def send(message: object) -> None:
        sent.append(message)

    async def main() -> None:
        await asgi_app(app)("scope", None, send)

    asyncio.run(main())
    assert sent == ["scope"]


class NoApp:
    def __init__(self, name: str = "") -> None:
        self.name = name


class Flask:
    def wsgi_app(self, environ: Any, start_response: Any) -> None: ...

    def __call__(self, environ: Any, start_response: Any) -> None: ...


def factory(config: Any = None) -> None: ...


async def async_factory() -> None: ...


def wsgi(environ: Any, start_response: Any) -> None: ...


@pytest.mark.parametrize(
    ("app", "said"),
    [
        (3, "cannot be called"),
        (NoApp, "is a class"),
        (Flask(), "is a WSGI app"),
        (wsgi, "two arguments, as a WSGI app does"),
        (factory, "A factory is written with"),
        (lambda: three, "A factory is written with"),
        (async_factory, "is async, but does not take scope, receive and send"),
    ],
)
def test_refused_with_a_true_sentence(app: Any, said: str) -> None:
    with pytest.raises(AppLoadError, match=said):
        asgi_app(app)
