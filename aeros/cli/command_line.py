"""The `aeros` command: run a server, and see and steer running ones."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence

from ..core.exitcodes import ExitCode
from ..core.text import complaint
from ..errors import AerosError, OptionsError, ReloadFailed, UpgradeFailed
from ..options import argument_parser
from ..options.parse import OptionsParser
from ..options.table import BY_FLAG
from ..version import __version__
from . import profiling, serving, steering, watching
from .completion import SHELLS, script


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code (see `ExitCode`). A user's mistake costs one line, no traceback."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that knows few characters gets the numbers of the others. (Standard error is like that already.)
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return _dispatch(arguments)
    except ReloadFailed as error:
        _complain(f"{_about(error)}: reload refused, the old workers go on serving: {error}", error.traceback)
        return int(error.exit_code)
    except UpgradeFailed as error:
        _complain(f"{_about(error)}: upgrade refused, the old server goes on: {error}", error.traceback)
        return int(error.exit_code)
    except AerosError as error:
        text = str(error)
        _complain(text if text.startswith("aeros ") else f"{_about(error)}: {text}", getattr(error, "traceback", ""))
        return int(error.exit_code)
    except BrokenPipeError:
        # `aeros status | head`: the reader has what it wanted.
        sys.stderr.close()
        return int(ExitCode.OK)
    except KeyboardInterrupt:
        return 130


def _about(error: AerosError) -> str:
    """Return what an outcome begins with: the server it is about, unless the mistake is in the command line."""
    about = "" if isinstance(error, OptionsError) else getattr(error, "about", "")
    return about or "aeros"


def _complain(text: str, traceback: str) -> None:
    """Say what went wrong. Much of it may be a worker's words, or an app's."""
    print(complaint(text, traceback.rstrip("\n")), file=sys.stderr)


def _dispatch(arguments: list[str]) -> int:
    parser = _parser()
    others = None
    if arguments[:1] == ["upgrade"] and "--" in arguments:
        at = arguments.index("--")
        arguments, others = arguments[:at], arguments[at + 1 :]
    options, left = parser.parse_known_args(arguments)
    options.others = others
    if left and options.command == "upgrade" and left[0].split("=")[0] in BY_FLAG:
        raise OptionsError(
            f"aeros upgrade has no {left[0]}; arguments for the new server come after --: aeros upgrade -- {left[0]} …"
        )
    if left:
        raise (_commands(parser).get(options.command) or parser).left_over(left)
    if options.command is None:
        parser.print_help()
        return int(ExitCode.USAGE)
    try:
        code: int = options.run(options)
    except AerosError as error:
        error.about = getattr(options, "about", "")  # type: ignore[attr-defined]
        raise
    return code


def _commands(parser: OptionsParser) -> dict[str, OptionsParser]:
    """Return the parsers of the commands by name."""
    (choices,) = (action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(choices)


def _parser() -> OptionsParser:
    shared = argument_parser()
    kind = type(shared)
    parser = kind(
        prog="aeros",
        description="Production serving for Quart apps.",
        epilog="Each command has its own --help. Exit codes: 0 done, 1 failed or refused, 2 wrong usage, "
        "3 the app cannot be loaded or started, 4 an address or certificate cannot be had, 5 a stop had to kill.",
    )
    parser.add_argument("--version", action="version", version=f"aeros {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", parser_class=kind)
    serving.add(commands, shared)
    watching.add(commands)
    profiling.add(commands)
    steering.add(commands)
    completion = commands.add_parser(
        "completion",
        help="print a completion script for a shell",
        description='Print a completion script for a shell; for bash: eval "$(aeros completion bash)".',
    )
    completion.add_argument("shell", choices=SHELLS)
    completion.set_defaults(run=_completion)
    return parser


def _completion(options: argparse.Namespace) -> int:
    print(script(_parser(), options.shell))
    return int(ExitCode.OK)
