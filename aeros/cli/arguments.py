"""What the commands' command lines have in common: naming a server, times and numbers, a directory to begin in."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..core.text import one_line
from ..errors import AerosError, ControlError, NotAServerError, OptionsError
from ..server import Server, connect, running_servers

#: The parsers of the commands, as argparse adds them.
Commands = Any

SERVER_HELP = "the supervisor's pid, or the path of its control socket; may be left out when only one server runs"


def about_a_server(
    commands: Commands,
    name: str,
    text: str,
    run: Callable[[argparse.Namespace], int],
    more: str = "",
    usage: str | None = None,
) -> argparse.ArgumentParser:
    """Add a command about a running server. more, usage: for its own --help."""
    description = " ".join(filter(None, (text[0].upper() + text[1:] + ".", more)))
    parser: argparse.ArgumentParser = commands.add_parser(name, usage=usage, help=text, description=description)
    parser.add_argument("server", nargs="?", metavar="SERVER", help=SERVER_HELP)
    server_option(parser)
    parser.set_defaults(run=run)
    return parser


def server_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--server", dest="named", metavar="PID|PATH", help="the same as SERVER")


def chdir_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--chdir",
        metavar="DIR",
        help="change to this directory first: the app and all relative paths are looked for there. A symlink is "
        "followed anew at each reload and upgrade",
    )


def app_options(parser: argparse.ArgumentParser) -> None:
    """Add what says where the app is found, beside its name."""
    chdir_option(parser)
    parser.add_argument("--app-dir", metavar="DIR", help="look for the app's module in this directory first")
    parser.add_argument("--factory", action="store_true", help="APP is a function that returns the app")
    parser.add_argument(
        "--env-file",
        metavar="FILE",
        help="set the variables of this file, NAME=VALUE in each line, before the app is loaded; what is set already "
        "stays. Read anew at each reload",
    )


def enter(options: argparse.Namespace) -> None:
    """Be where the app is to be loaded. A program that is run again begins in the directory of the start, and does so,
    too; but only once, for --chdir may be relative. Raises OptionsError."""
    from ..start.app.place import look_in

    if options.chdir is not None:
        try:
            os.chdir(options.chdir)
        except OSError as error:
            raise OptionsError(f"--chdir {options.chdir}: {error.strerror}") from None
    if options.app_dir is not None:
        look_in(options.app_dir)


def take_variables(options: argparse.Namespace) -> None:
    """Set the variables of --env-file as they are now. Raises OptionsError."""
    from ..start.app.place import set_variables

    if options.env_file is not None:
        set_variables(options.env_file)


def find_app(options: argparse.Namespace) -> str:
    """Return the name of the app. Raises OptionsError."""
    from ..start.app.guess import guess_app
    from ..start.app.place import factory_name

    name = options.app or guess_app(options.app_dir or ".")
    return factory_name(name) if options.factory else name


def words_of_app(options: argparse.Namespace) -> list[str]:
    """Return the app and these options as they were given: an upgrade with other arguments keeps them."""
    given = (("--chdir", options.chdir), ("--app-dir", options.app_dir), ("--env-file", options.env_file))
    words = [options.app] if options.app else []
    words += [f"{flag}={value}" for flag, value in given if value is not None]
    return [*words, "--factory"] if options.factory else words


def find(options: argparse.Namespace, named: str | None) -> Server:
    """Return the server that was named, by --server or otherwise, else the only one there is. What goes wrong from now
    on is about it."""
    server = _find(options, named)
    options.about = _named(server)
    return server


def _find(options: argparse.Namespace, named: str | None) -> Server:
    if named is not None and options.named is not None:
        raise OptionsError(f"--server {options.named} and {named}: name one server")
    named = named if named is not None else options.named
    if named is not None:
        return connect(int(named) if named.isdecimal() else named)
    found = running_servers()
    if not found:
        raise NotAServerError(
            "no server of this user is running (one started with --control off or a path is not seen)"
        )
    if len(found) > 1:
        servers = "; ".join(_with_directory(pid) for pid in found)
        raise OptionsError(f"several servers are running; say which: {servers}")
    return connect(found[0])


def find_to_change(options: argparse.Namespace, named: str | None) -> Server:
    """The same, for what cannot be undone: a server that nobody named and that was started in another directory may be
    another one than was meant. --yes says that it is meant."""
    server = find(options, named)
    if named is not None or options.named is not None or options.yes or _is_from_here(server):
        return server
    about = _with_directory(server.pid)
    if not sys.stdin.isatty():
        raise OptionsError(
            f"the only server that runs was started in another directory: {about}; say aeros {options.command} "
            f"{server.pid}, or --yes"
        )
    if input(f"{options.command} {about}? [y/N] ").strip().lower() not in ("y", "yes"):
        raise OptionsError("nothing was done")
    return server


def yes_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="also if the only server was started in another directory")


def _is_from_here(server: Server) -> bool:
    with contextlib.suppress(ControlError, OSError):
        return not (started := server.directory) or Path.cwd().is_relative_to(started)
    return True


def title(server: Server) -> str:
    """Return what a command says of the server it has dealt with: shop (pid 17, http://127.0.0.1:8000)."""
    return _named(server) or f"the server (pid {server.pid})"


def _named(server: Server) -> str:
    """Return the same; "" for one whose figures cannot be read."""
    with contextlib.suppress(ControlError):
        if addresses := server.addresses:
            return one_line(f"{server.name or 'the server'} (pid {server.pid}, {addresses[0]})")
    return ""


def _with_directory(pid: int) -> str:
    with contextlib.suppress(AerosError), connect(pid) as server:
        return one_line(f"{title(server)} in {server.directory or 'an unknown directory'}")
    return f"pid {pid}"


def seconds(text: str) -> float:
    from ..options.units import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}, not {text!r}") from None


def some_seconds(text: str) -> float:
    if not (given := seconds(text)):
        raise argparse.ArgumentTypeError(f"must be more than 0, not {text!r}")
    return given


def whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, not {text!r}") from None
