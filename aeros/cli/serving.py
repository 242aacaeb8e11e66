"""The commands that serve, and that check what a server would meet: run, dev, doctor."""

from __future__ import annotations

import argparse

from ..core.exitcodes import ExitCode
from ..core.text import json_text, several_lines
from ..options import arguments_of, secrets
from ..options.parse import OptionsParser
from .arguments import Commands, app_options, enter, find_app, take_variables, words_of_app


def add(commands: Commands, shared: OptionsParser) -> None:
    """Add them. shared: the options of a server."""
    _add_run(commands, shared)
    _add_dev(commands, shared)
    _add_doctor(commands, shared)


def _add_run(commands: Commands, shared: OptionsParser) -> None:
    run = commands.add_parser(
        "run",
        parents=[shared],
        help="serve an app",
        description="Serve an ASGI app until stopped: aeros run module:app -w 4, or module:factory().",
    )
    run.add_argument(
        "app",
        metavar="APP",
        nargs="?",
        help="module:app, module:factory(), or module alone for module:app; without it app.py, main.py and the like "
        "are looked into",
    )
    app_options(run)
    run.set_defaults(run=_run)


def _add_dev(commands: Commands, shared: OptionsParser) -> None:
    dev = commands.add_parser(
        "dev",
        parents=[shared],
        help="serve an app while working on it",
        description="Serve an ASGI app while working on it: one worker, reloads when a file changes, the framework's "
        "debug mode, a line for each request, errors as pages.",
    )
    dev.add_argument("app", metavar="APP", nargs="?", help="as for aeros run; found by itself if left out")
    app_options(dev)
    dev.set_defaults(run=_dev)


def _add_doctor(commands: Commands, shared: OptionsParser) -> None:
    doctor = commands.add_parser(
        "doctor",
        parents=[shared],
        help="check whether this machine suits a server with these options",
        description="Check this machine for a server with these options, and say what to change. Takes what aeros run "
        "takes, without the app; exit code 1 when there is a problem.",
    )
    app_options(doctor)
    doctor.add_argument("--json", action="store_true", help="the findings as JSON")
    doctor.set_defaults(run=_doctor)


def _run(options: argparse.Namespace) -> int:
    from ..start import serve

    enter(options)
    take_variables(options)
    name = find_app(options)
    secrets.hide()  # the app has no use for them while it loads, either
    return serve(name, arguments_of(options), kept=words_of_app(options))


def _dev(options: argparse.Namespace) -> int:
    from .dev import run

    return run(options)


def _doctor(options: argparse.Namespace) -> int:
    from ..options import resolve
    from . import doctor

    enter(options)
    take_variables(options)
    findings = doctor.examine(resolve(arguments_of(options)))
    if options.json:
        print(json_text([finding.to_dict() for finding in findings], indent=2))
    else:
        print(several_lines(doctor.render(findings)))
    return int(ExitCode.FAILURE if any(finding.level == "problem" for finding in findings) else ExitCode.OK)
