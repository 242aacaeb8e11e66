"""start(): from a program with an app, or an app's name, to a server. Decides what this process is to become."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..core.log.spoken import speak_json
from ..core.process import streams
from ..core.process.origin import here
from ..errors import AerosError, StartError, StateError
from ..options import Options, resolve, secrets
from ..options.resolve import gather
from ..server import Server
from ..supervisor.system.summons import CHANNEL_VARIABLE, UPGRADE_VARIABLE, is_meant
from ..supervisor.system.summons import take as take_summons
from .app.find_app import load_app
from .finish import finished
from .first import supervise_beside, supervise_here, watch
from .first_program import being_loaded
from .moment import can_supervise, check_may_block, check_moment
from .next_generation import become_zygote
from .output import give_up
from .served import served_app

if TYPE_CHECKING:
    from hypercorn.config import Config


def check(constructor: Mapping[str, object]) -> None:
    """Raise OptionsError if the defaults given to WebServer(…) cannot be used."""
    resolve(constructor=constructor, environ={})


def serve(
    name: str,
    arguments: Sequence[str],
    load: Callable[[str], Any] = load_app,
    kept: Sequence[str] | None = None,
) -> int:
    """Serve the app called `name`; the way of `aeros run`. load: how it is had by that name. kept: the words of the
    command line that say which app. Returns 0 or ends the program; raises AerosError."""
    if is_meant(CHANNEL_VARIABLE, os.environ) or not can_supervise():
        directory = here()
        if _speaks_json(arguments):
            speak_json(names=["stdout"])  # standard error goes through the supervisor while the app is loaded
        app = load(name)
        constructor = getattr(app, "serving_defaults", None)
        result = start(app, arguments, {}, constructor=constructor, program=name, directory=directory)
        assert isinstance(result, int)
        return result
    from .fork_first import run

    return run(name, arguments, load, kept)


def _speaks_json(arguments: Sequence[str]) -> bool:
    try:
        return gather(arguments, environ=secrets.environment()).value("log_format") == "json"
    except AerosError:
        return False  # said when the options are resolved


def start(
    app: Any,
    arguments: str | Sequence[str] | None,
    keywords: Mapping[str, object],
    *,
    config: Config | str | None = None,
    constructor: Mapping[str, object] | None = None,
    block: bool = True,
    program: str = "",
    directory: str = "",
) -> int | Server:
    """Serve `app`; see `WebServer.start`. program: what `aeros run` was told to serve, if it was: its name in process
    titles, and what stays of the command line when an upgrade gives it other arguments. directory: where it stood then.
    """
    check_moment()

    def given() -> Options:
        return resolve(arguments, keywords, config=config, constructor=constructor, environ=secrets.environment())

    def resolved() -> Options:
        return finished(given(), app, program, directory)

    if (loaded := being_loaded()) is not None:
        loaded.arrive(app, given)
    try:
        if block:
            check_may_block()
        streams.secure()
        to_zygote = take_summons(CHANNEL_VARIABLE, os.environ)
        to_heir = take_summons(UPGRADE_VARIABLE, os.environ)
    except (StartError, StateError) as error:
        give_up(error)
    if to_zygote is not None:
        become_zygote(to_zygote, app, resolved, app_in_supervisor=not program)
    if to_heir is not None:
        from .next_supervisor import explaining, supervise_next

        with explaining(to_heir):
            options = resolved()
            return supervise_next(to_heir, served_app(app, options), options, block, program)
    return _serve_first(app, resolved, block, program)


def _serve_first(app: Any, resolved: Callable[[], Options], block: bool, program: str) -> int | Server:
    try:
        options = resolved()
        app = served_app(app, options)
        if block and can_supervise():
            return supervise_here(app, options, program)
        server = supervise_beside(app, options)
    except AerosError as error:
        if not block:
            raise
        give_up(error)
    return server if not block else watch(server)
