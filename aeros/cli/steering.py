"""The commands that change a running server: reload, upgrade, scale, restart, debug, stop."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from ..core.clock import show_duration
from ..core.exitcodes import ExitCode
from ..core.ipc.messages import MISBEHAVIOURS
from ..core.record import as_dict
from ..core.shared.scoreboard import MAX_WORKERS
from ..core.text import json_text, one_line
from ..errors import OptionsError, ReloadFailed, UpgradeFailed
from ..server import running_servers
from ..status.records import Reloaded, Upgraded
from .arguments import (
    SERVER_HELP,
    Commands,
    about_a_server,
    find,
    find_to_change,
    seconds,
    server_option,
    some_seconds,
    title,
    whole,
    yes_option,
)


def add(commands: Commands) -> None:
    """Add them."""
    _add_reload(commands)
    _add_upgrade(commands)
    _add_scale(commands)
    _add_restart(commands)
    _add_debug(commands)
    _add_stop(commands)


def _add_reload(commands: Commands) -> None:
    reload = about_a_server(
        commands, "reload", "load the code anew and replace the workers; wait for the outcome", _reload
    )
    reload.add_argument("--timeout", type=some_seconds, metavar="SECONDS", help="refuse the reload if it takes longer")
    reload.add_argument("--json", action="store_true", help="the outcome as JSON, also of one that was refused")


def _add_upgrade(commands: Commands) -> None:
    upgrade = about_a_server(
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
        "--timeout", type=some_seconds, metavar="SECONDS", help="refuse the upgrade if it takes longer"
    )
    upgrade.add_argument("--json", action="store_true", help="the outcome as JSON, also of one that was refused")


def _add_scale(commands: Commands) -> None:
    scale = commands.add_parser(
        "scale",
        usage="%(prog)s [-h] [--server PID|PATH] [SERVER] N",
        help="change the number of workers, and wait until they are ready",
        description="Change the number of workers, and wait until they are ready.",
    )
    scale.add_argument("numbers", nargs="+", metavar="[SERVER] N", help="the new number of workers")
    server_option(scale)
    yes_option(scale)
    scale.set_defaults(run=_scale)


def _add_restart(commands: Commands) -> None:
    restart = commands.add_parser(
        "restart",
        usage="%(prog)s [-h] [--server PID|PATH] [--slot SLOT] [SERVER] [SLOT]",
        help="replace all workers, or one, with the same code, one after the other",
        description="Replace all workers, or that of one slot, with the same code, one after the other; each "
        "replacement is ready first. Does not wait for them.",
    )
    restart.add_argument("where", nargs="*", metavar="[SERVER] [SLOT]", help="only the worker of this slot")
    restart.add_argument("--slot", type=whole, help="the same; what else is given is then the server")
    server_option(restart)
    restart.set_defaults(run=_restart)


def _add_debug(commands: Commands) -> None:
    debug = commands.add_parser("debug", help="make a worker fail, to rehearse (needs --debug-faults at the start)")
    debug.add_argument("server", nargs="?", metavar="SERVER", help=SERVER_HELP)
    server_option(debug)
    debug.add_argument("slot", type=whole, help="the worker of this slot")
    debug.add_argument("fault", choices=MISBEHAVIOURS)
    debug.add_argument("--seconds", type=seconds, default=1.0, help="how long delay lasts (default: 1)")
    debug.set_defaults(run=_debug)


def _add_stop(commands: Commands) -> None:
    stop = about_a_server(commands, "stop", "stop a server gracefully, and wait until it is gone", _stop)
    yes_option(stop)
    stop.add_argument("--now", action="store_true", help="without waiting for requests in flight")


def _reload(options: argparse.Namespace) -> int:
    server = find(options, options.server)
    if options.json:
        return _as_json(lambda: server.reload(timeout=options.timeout))
    done = server.reload(timeout=options.timeout)
    same = "" if done.how == "rerun" else one_line(f" (the same code: {done.reason})")
    print(f"{title(server)} reloaded: generation {done.generation} serves after {show_duration(done.seconds)}{same}")
    return int(ExitCode.OK)


def _upgrade(options: argparse.Namespace) -> int:
    server = find(options, options.server)
    if options.json:
        return _as_json(lambda: server.upgrade(timeout=options.timeout, arguments=options.others))
    title_before = title(server)
    done = server.upgrade(timeout=options.timeout, arguments=options.others)
    versions = one_line(f"Aeros {done.aeros_version}, Python {done.python_version}")
    print(
        f"{title_before} upgraded: pid {done.pid} serves after {show_duration(done.seconds)} ({versions}); "
        f"pid {done.replaced} ends with its last connection"
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
    server = find_to_change(options, named[0] if named else None)
    server.scale(int(number))
    print(f"{title(server)} scaled: {number} worker{'s' if int(number) != 1 else ''} ready")
    return int(ExitCode.OK)


def _restart(options: argparse.Namespace) -> int:
    named, slot = _server_and_slot(options)
    server = find(options, named)
    slots = server.restart(slot)
    print(f"{title(server)} restarting slot{'s' if len(slots) != 1 else ''} {', '.join(map(str, slots))}")
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


def _debug(options: argparse.Namespace) -> int:
    server = find(options, options.server)
    server.debug(options.slot, options.fault, options.seconds)
    print(f"{title(server)} worker of slot {options.slot} told to {options.fault}")
    return int(ExitCode.OK)


def _stop(options: argparse.Namespace) -> int:
    server = find_to_change(options, options.server)
    about = title(server)
    server.stop(now=options.now)
    print(f"{about} stopped")
    return int(ExitCode.OK)
