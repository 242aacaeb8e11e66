"""aeros.serve(): any ASGI app from Python, with all that WebServer.start has."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

from ..hooks import Hooks
from ..server import Server
from ..worker.context import current_worker
from . import start
from .app.find_app import load_app
from .app.place import factory_name, look_in, set_variables
from .finish import app_name
from .from_within import server_of_worker

if TYPE_CHECKING:
    from hypercorn.config import Config

Hook = Callable[..., Any]


class HookedApp:
    """An ASGI app with hooks of its server beside it."""

    def __init__(self, app: Any, hooks: Hooks) -> None:
        self._app = app
        self.hooks = hooks
        self.name = app_name(app)

    def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        return self._app(scope, receive, send)


@overload
def serve(
    app: Any,
    arguments: str | Sequence[str] | None = None,
    *,
    block: Literal[True] = True,
    config: Config | str | None = None,
    factory: bool = False,
    app_dir: str | os.PathLike[str] | None = None,
    env_file: str | os.PathLike[str] | None = None,
    before_fork: Hook | None = None,
    after_fork: Hook | None = None,
    worker_ready: Hook | None = None,
    worker_exit: Hook | None = None,
    on_reload: Hook | None = None,
    **options: object,
) -> int: ...


@overload
def serve(
    app: Any,
    arguments: str | Sequence[str] | None = None,
    *,
    block: Literal[False],
    config: Config | str | None = None,
    factory: bool = False,
    app_dir: str | os.PathLike[str] | None = None,
    env_file: str | os.PathLike[str] | None = None,
    before_fork: Hook | None = None,
    after_fork: Hook | None = None,
    worker_ready: Hook | None = None,
    worker_exit: Hook | None = None,
    on_reload: Hook | None = None,
    **options: object,
) -> Server: ...


def serve(
    app: Any,
    arguments: str | Sequence[str] | None = None,
    *,
    block: bool = True,
    config: Config | str | None = None,
    factory: bool = False,
    app_dir: str | os.PathLike[str] | None = None,
    env_file: str | os.PathLike[str] | None = None,
    before_fork: Hook | None = None,
    after_fork: Hook | None = None,
    worker_ready: Hook | None = None,
    worker_exit: Hook | None = None,
    on_reload: Hook | None = None,
    **options: object,
) -> int | Server:
    """Serve `app`: `aeros.serve(app, "-w 4")`, `aeros.serve("module:app", workers=4)`, or a mix.

    app: an ASGI app of any framework, or its name. factory: it is a function that returns the app. app_dir: where the
    module of that name is looked for first. env_file: a file of variables, set before the app is loaded unless they are
    set already. before_fork to on_reload: as the hooks of WebServer. The rest, what is returned and what is raised: as
    `WebServer.start`.
    """
    if env_file is not None:
        set_variables(env_file)
    if app_dir is not None:
        look_in(app_dir)
    found = load_app(factory_name(app) if factory else app) if isinstance(app, str) else app
    if factory and not isinstance(app, str):
        found = app()
    functions = (before_fork, after_fork, worker_ready, worker_exit, on_reload)
    served = _hooked(found, dict(zip(Hooks.EVENTS, functions, strict=True)))
    constructor = getattr(found, "serving_defaults", None)
    return start(served, arguments, options, config=config, constructor=constructor, block=block)


def current_server() -> Server:
    """Return the server that this worker belongs to: its status(), and commands to it. Raises StateError outside of
    a worker."""
    return server_of_worker(current_worker())


def _hooked(app: Any, functions: dict[str, Hook | None]) -> Any:
    given = {event: function for event, function in functions.items() if function is not None}
    if not given:
        return app
    own = getattr(app, "hooks", None)
    hooks = own if isinstance(own, Hooks) else Hooks()
    for event, function in given.items():
        hooks.add(event, function)
    return app if hooks is own else HookedApp(app, hooks)
