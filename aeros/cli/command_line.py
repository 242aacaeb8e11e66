"""The `aeros` command: run a server, and see and steer running ones."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ..core.clock import show_duration
from ..core.exitcodes import ExitCode
from ..core.ipc.messages import MISBEHAVIOURS
from ..core.record import as_dict
from ..core.shared.scoreboard import MAX_WORKERS
from ..core.text import json_text, one_line, several_lines
from ..errors import AerosError, NotAServerError, OptionsError, ReloadFailed, UpgradeFailed
from ..options import argument_parser, arguments_of, secrets
from ..options.parse import OptionsParser
from ..options.table import BY_FLAG
from ..server import Server, connect, running_servers
from ..start import startup
from ..status.records import Reloaded, Upgraded
from ..version import __version__
from .completion import SHELLS, script
from .tables import render, render_requests

_SERVER_HELP = "the supervisor's pid, or the path of its control socket; may be left out when only one server runs"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code (see `ExitCode`). A user's mistake costs one line, no traceback."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _dispatch(arguments)
    except ReloadFailed as error:
        _complain(f"aeros: reload refused, the old workers go on serving: {error}", error.traceback)
        return int(error.exit_code)
    except UpgradeFailed as error:
        _complain(f"aeros: upgrade refused, the old server goes on: {error}", error.traceback)
        return int(error.exit_code)
    except AerosError as error:
        text = str(error)
        _complain(text if text.startswith("aeros ") else f"aeros: {text}", getattr(error, "traceback", ""))
        return int(error.exit_code)
    except BrokenPipeError:
        # `aeros status | head`: the reader has what it wanted.
        sys.stderr.close()
        return int(ExitCode.OK)
    except KeyboardInterrupt:
        return 130


def _complain(text: str, traceback: str) -> None:
    """Say what went wrong. Much of it may be a worker's words, or an app's."""
    print(one_line(text), file=sys.stderr)
    if traceback:
        print(several_lines(traceback.rstrip("\n")), file=sys.stderr)


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
    code: int = options.run(options)
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

    run = commands.add_parser(
        "run",
        parents=[shared],
        help="serve an app",
        description="Serve an ASGI app until stopped: aeros run module:app -w 4, or module:factory().",
    )
    run.add_argument("app", metavar="APP", help="module:app, module:factory(), or module alone for module:app")
    _chdir_option(run)
    run.set_defaults(run=_run)

    doctor = commands.add_parser(
        "doctor",
        parents=[shared],
        help="check whether this machine suits a server with these options",
        description="Check this machine for a server with these options, and say what to change. Takes what aeros run "
        "takes, without the app; exit code 1 when there is a problem.",
    )
    _chdir_option(doctor)
    doctor.add_argument("--json", action="store_true", help="the findings as JSON")
    doctor.set_defaults(run=_doctor)

    status = _steering(commands, "status", "show how a server and its workers are doing", _status)
    status.add_argument("--json", action="store_true", help="everything there is, as JSON")

    requests = _steering(
        commands, "requests", "show the requests in flight, oldest first, then the WebSockets", _requests
    )
    requests.add_argument("--json", action="store_true", help="as JSON")

    top = _steering(
        commands, "top", "watch a server live, with keys to reload, scale, restart and look into workers", _top
    )
    top.add_argument("--interval", type=_seconds, default=1.0, help="time between two looks (default: 1s)")
    top.add_argument("--once", action="store_true", help="print one view and end; so it is without a terminal")
    top.add_argument("--json", action="store_true", help="one JSON object per interval: the status, and rates")

    stack = commands.add_parser(
        "stack",
        usage="%(prog)s [-h] [--server PID|PATH] [--json] [SERVER] SLOT",
        help="show where a worker is: stacks of its threads, awaits of its tasks",
        description="Show where a worker is: the stacks of its threads, the awaits of its tasks. Also of one that is "
        "stuck. The worker goes on.",
    )
    stack.add_argument("where", nargs="+", metavar="[SERVER] SLOT", help="the worker's slot, as in aeros status")
    _server_option(stack)
    stack.add_argument("--json", action="store_true", help="as JSON")
    stack.set_defaults(run=_stack)

    reload = _steering(commands, "reload", "load the code anew and replace the workers; wait for the outcome", _reload)
    reload.add_argument("--timeout", type=_some_seconds, metavar="SECONDS", help="refuse the reload if it takes longer")
    reload.add_argument("--json", action="store_true", help="the outcome as JSON, also of one that was refused")

    upgrade = _steering(
        commands,
        "upgrade",
        "replace the whole server, its supervisor too, without losing a connection; wait for the outcome",
        _upgrade,
        "The program is run again by the same command line, with a supervisor of its own: new Python, new Aeros, new "
        "options. It inherits the sockets, and takes over when all its workers are ready; if anything fails before, "
        "the old server goes on. Arguments after -- take the place of all those the program was started with; of "
        "aeros run APP the APP stays.",
        "%(prog)s [-h] [--server PID|PATH] [--timeout SECONDS] [--json] [SERVER] [-- ARGUMENT ...]",
    )
    upgrade.add_argument(
        "--timeout", type=_some_seconds, metavar="SECONDS", help="refuse the upgrade if it takes longer"
    )
    upgrade.add_argument("--json", action="store_true", help="the outcome as JSON, also of one that was refused")

    scale = commands.add_parser(
        "scale",
        usage="%(prog)s [-h] [--server PID|PATH] [SERVER] N",
        help="change the number of workers, and wait until they are ready",
        description="Change the number of workers, and wait until they are ready.",
    )
    scale.add_argument("numbers", nargs="+", metavar="[SERVER] N", help="the new number of workers")
    _server_option(scale)
    scale.set_defaults(run=_scale)

    restart = commands.add_parser(
        "restart",
        usage="%(prog)s [-h] [--server PID|PATH] [--slot SLOT] [SERVER] [SLOT]",
        help="replace all workers, or one, with the same code, one after the other",
        description="Replace all workers, or that of one slot, with the same code, one after the other; each "
        "replacement is ready first. Does not wait for them.",
    )
    restart.add_argument("where", nargs="*", metavar="[SERVER] [SLOT]", help="only the worker of this slot")
    restart.add_argument("--slot", type=_whole, help="the same; what else is given is then the server")
    _server_option(restart)
    restart.set_defaults(run=_restart)

    logs = _steering(commands, "logs", "show the latest events of the log of supervisor, zygotes and workers", _logs)
    logs.add_argument("-f", "--follow", action="store_true", help="go on with those that come, until the server stops")
    logs.add_argument("-n", "--lines", type=_whole, metavar="N", help="only the last N events")

    debug = commands.add_parser("debug", help="make a worker fail, to rehearse (needs --debug-faults at the start)")
    debug.add_argument("server", nargs="?", metavar="SERVER", help=_SERVER_HELP)
    _server_option(debug)
    debug.add_argument("slot", type=_whole, help="the worker of this slot")
    debug.add_argument("fault", choices=MISBEHAVIOURS)
    debug.add_argument("--seconds", type=_seconds, default=1.0, help="how long delay lasts (default: 1)")
    debug.set_defaults(run=_debug)

    stop = _steering(commands, "stop", "stop a server gracefully, and wait until it is gone", _stop)
    stop.add_argument("--now", action="store_true", help="without waiting for requests in flight")

    completion = commands.add_parser(
        "completion",
        help="print a completion script for a shell",
        description='Print a completion script for a shell; for bash: eval "$(aeros completion bash)".',
    )
    completion.add_argument("shell", choices=SHELLS)
    completion.set_defaults(run=_completion)
    return parser


def _steering(
    commands: Any,
    name: str,
    text: str,
    run: Callable[[argparse.Namespace], int],
    more: str = "",
    usage: str | None = None,
) -> argparse.ArgumentParser:
    """Add a command about a running server. more, usage: for its own --help."""
    description = " ".join(filter(None, (text[0].upper() + text[1:] + ".", more)))
    parser: argparse.ArgumentParser = commands.add_parser(name, usage=usage, help=text, description=description)
    parser.add_argument("server", nargs="?", metavar="SERVER", help=_SERVER_HELP)
    _server_option(parser)
    parser.set_defaults(run=run)
    return parser


def _server_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--server", dest="named", metavar="PID|PATH", help="the same as SERVER")


def _chdir_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--chdir",
        metavar="DIR",
        help="change to this directory first: the app and all relative paths are looked for there. A symlink is "
        "followed anew at each reload and upgrade",
    )


def _seconds(text: str) -> float:
    from ..options.units import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}, not {text!r}") from None


def _some_seconds(text: str) -> float:
    if not (seconds := _seconds(text)):
        raise argparse.ArgumentTypeError(f"must be more than 0, not {text!r}")
    return seconds


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, not {text!r}") from None


# --- commands ----------------------------------------------------------------------------------------------------


def _run(options: argparse.Namespace) -> int:
    from ..start.find_app import load_app

    _change_directory(options)
    secrets.hide()  # the app has no use for them while it loads, either
    app = load_app(options.app)
    constructor = getattr(app, "serving_defaults", None)
    result = startup.start(app, arguments_of(options), {}, constructor=constructor, program=options.app)
    assert isinstance(result, int)
    return result


def _change_directory(options: argparse.Namespace) -> None:
    """Go where --chdir says. A program that is run again begins in the directory of the start and does so, too."""
    if options.chdir is not None:
        try:
            os.chdir(options.chdir)
        except OSError as error:
            raise OptionsError(f"--chdir {options.chdir}: {error.strerror}") from None


def _doctor(options: argparse.Namespace) -> int:
    from ..options import resolve
    from . import doctor

    _change_directory(options)
    findings = doctor.examine(resolve(arguments_of(options)))
    if options.json:
        print(json_text([finding.to_dict() for finding in findings], indent=2))
    else:
        print(several_lines(doctor.render(findings)))
    return int(ExitCode.FAILURE if any(finding.level == "problem" for finding in findings) else ExitCode.OK)


def _find(options: argparse.Namespace, named: str | None) -> Server:
    """Return the server that was named, by --server or otherwise, else the only one there is."""
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
        raise OptionsError(f"several servers are running; say which: {', '.join(map(str, found))}")
    return connect(found[0])


def _status(options: argparse.Namespace) -> int:
    server = _find(options, options.server)
    status = server.status()
    if options.json:
        print(json_text(status.to_dict(), indent=2))
    else:
        print(render(status))
    return int(ExitCode.OK)


def _requests(options: argparse.Namespace) -> int:
    server = _find(options, options.server)
    requests = server.requests()
    if options.json:
        print(json_text([request.to_dict() for request in requests], indent=2))
    else:
        workers = server.status().workers
        in_flight, websockets = sum(one.in_flight for one in workers), sum(one.websockets for one in workers)
        print(render_requests(requests, in_flight, websockets))
    return int(ExitCode.OK)


def _top(options: argparse.Namespace) -> int:
    if options.interval < 0.1:
        raise OptionsError("--interval must be at least 0.1 seconds")
    try:
        from .top import run
    except ModuleNotFoundError as error:
        if error.name != "rich":
            raise
        raise OptionsError("aeros top needs the package rich: pip install rich") from None
    run(_find(options, options.server), interval_s=options.interval, once=options.once, as_json=options.json)
    return int(ExitCode.OK)


def _stack(options: argparse.Namespace) -> int:
    *named, slot = options.where
    if len(named) > 1 or not slot.isdigit():
        raise OptionsError(f"aeros stack [SERVER] SLOT takes the number of a slot, not {' '.join(options.where)!r}")
    stacks = _find(options, named[0] if named else None).stack(int(slot))
    print(json_text(stacks.to_dict(), indent=2) if options.json else several_lines(str(stacks)))
    return int(ExitCode.OK)


def _reload(options: argparse.Namespace) -> int:
    server = _find(options, options.server)
    if options.json:
        return _as_json(lambda: server.reload(timeout=options.timeout))
    done = server.reload(timeout=options.timeout)
    same = "" if done.how == "rerun" else one_line(f" (the same code: {done.reason})")
    print(f"reloaded: generation {done.generation} serves after {show_duration(done.seconds)}{same}")
    return int(ExitCode.OK)


def _upgrade(options: argparse.Namespace) -> int:
    server = _find(options, options.server)
    if options.json:
        return _as_json(lambda: server.upgrade(timeout=options.timeout, arguments=options.others))
    done = server.upgrade(timeout=options.timeout, arguments=options.others)
    versions = one_line(f"Aeros {done.aeros_version}, Python {done.python_version}")
    print(
        f"upgraded: pid {done.pid} serves after {show_duration(done.seconds)} ({versions}); pid {done.replaced} ends "
        "with its last connection"
    )
    return int(ExitCode.OK)


def _as_json(act: Callable[[], Reloaded | Upgraded]) -> int:
    """Print what came of it, good or refused, as one JSON object; return the exit code."""
    try:
        record, code = as_dict(act()), ExitCode.OK
    except (ReloadFailed, UpgradeFailed) as error:
        record, code = {"ok": False, "reason": str(error), "traceback": error.traceback}, error.exit_code
    print(json_text(record, indent=2))
    return int(code)


def _scale(options: argparse.Namespace) -> int:
    *named, number = options.numbers
    if len(named) > 1 or not number.isdigit():
        wrong = number if not number.isdigit() else " ".join(options.numbers)
        raise OptionsError(f"aeros scale [SERVER] N takes the number of workers, not {wrong!r}")
    _find(options, named[0] if named else None).scale(int(number))
    print(f"{number} worker{'s' if int(number) != 1 else ''} ready")
    return int(ExitCode.OK)


def _restart(options: argparse.Namespace) -> int:
    named, slot = _server_and_slot(options)
    slots = _find(options, named).restart(slot)
    print(f"restarting slot{'s' if len(slots) != 1 else ''} {', '.join(map(str, slots))}")
    return int(ExitCode.OK)


def _server_and_slot(options: argparse.Namespace) -> tuple[str | None, int | None]:
    """Return what the words of aeros restart name. A number alone is a slot, unless it can only be a pid."""
    words: list[str] = options.where
    if len(words) > (1 if options.slot is not None else 2):
        raise OptionsError(f"aeros restart [SERVER] [SLOT] takes no more than that: {' '.join(words)!r}")
    if options.slot is not None:
        return (words[0] if words else None), options.slot
    if len(words) == 2:
        server, slot = words
        if not slot.isdigit():
            raise OptionsError(f"aeros restart [SERVER] [SLOT] takes the number of a slot, not {slot!r}")
        return server, int(slot)
    if not words:
        return None, None
    (word,) = words
    if not word.isdigit() or int(word) >= MAX_WORKERS:
        return word, None
    if options.named is None and int(word) in running_servers():
        raise OptionsError(f"{word} is a slot and the pid of a server here; say --slot {word} or --server {word}")
    return None, int(word)


def _logs(options: argparse.Namespace) -> int:
    if options.lines is not None and options.lines < 0:
        raise OptionsError(f"--lines must be 0 or more, not {options.lines}")
    for event in _find(options, options.server).logs(options.lines, follow=options.follow):
        print(several_lines(event), flush=options.follow)
    if options.follow:
        print("aeros: the server has stopped", file=sys.stderr)
    return int(ExitCode.OK)


def _debug(options: argparse.Namespace) -> int:
    server = _find(options, options.server)
    server.debug(options.slot, options.fault, options.seconds)
    print(f"worker of slot {options.slot} told to {options.fault}")
    return int(ExitCode.OK)


def _completion(options: argparse.Namespace) -> int:
    print(script(_parser(), options.shell))
    return int(ExitCode.OK)


def _stop(options: argparse.Namespace) -> int:
    server = _find(options, options.server)
    server.stop(now=options.now)
    print(f"stopped: pid {server.pid}")
    return int(ExitCode.OK)
