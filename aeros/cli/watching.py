"""The commands that look at a running server and change nothing: list, status, requests, top, stack, logs."""

from __future__ import annotations

import argparse
import contextlib
import sys

from ..core.exitcodes import ExitCode
from ..core.text import json_text, several_lines
from ..errors import OptionsError, ServerStopped
from ..server import connect, running_servers
from .arguments import Commands, about_a_server, find, seconds, server_option, whole
from .tables import render, render_requests, render_servers


def add(commands: Commands) -> None:
    """Add them."""
    _add_list(commands)
    _add_status_and_requests(commands)
    _add_top(commands)
    _add_stack(commands)
    _add_logs(commands)


def _add_list(commands: Commands) -> None:
    parser = commands.add_parser(
        "list",
        help="list the running servers of this user",
        description="List the running servers of this user, with addresses and the directory of the start.",
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run=_list)


def _add_status_and_requests(commands: Commands) -> None:
    status = about_a_server(commands, "status", "show how a server and its workers are doing", _status)
    status.add_argument("--json", action="store_true", help="everything there is, as JSON")

    requests = about_a_server(
        commands, "requests", "show the requests in flight, oldest first, then the WebSockets", _requests
    )
    requests.add_argument("--json", action="store_true", help="as JSON")


def _add_top(commands: Commands) -> None:
    top = about_a_server(
        commands, "top", "watch a server live, with keys to reload, scale, restart and look into workers", _top
    )
    top.add_argument("--interval", type=seconds, default=1.0, help="time between two looks (default: 1s)")
    top.add_argument("--once", action="store_true", help="print one view and end; so it is without a terminal")
    top.add_argument("--json", action="store_true", help="one JSON object per interval: the status, and rates")


def _add_stack(commands: Commands) -> None:
    stack = commands.add_parser(
        "stack",
        usage="%(prog)s [-h] [--server PID|PATH] [--json] [SERVER] SLOT",
        help="show where a worker is: stacks of its threads, awaits of its tasks",
        description="Show where a worker is: the stacks of its threads, the awaits of its tasks. Also of one that is "
        "stuck. The worker goes on.",
    )
    stack.add_argument("where", nargs="+", metavar="[SERVER] SLOT", help="the worker's slot, as in aeros status")
    server_option(stack)
    stack.add_argument("--json", action="store_true", help="as JSON")
    stack.set_defaults(run=_stack)


def _add_logs(commands: Commands) -> None:
    logs = about_a_server(
        commands, "logs", "show the latest events of the log of supervisor, zygotes and workers", _logs
    )
    logs.add_argument("-f", "--follow", action="store_true", help="go on with those that come, until the server stops")
    logs.add_argument("-n", "--lines", type=whole, metavar="N", help="only the last N events")


def _list(options: argparse.Namespace) -> int:
    found = []
    for pid in running_servers():
        with contextlib.suppress(ServerStopped), connect(pid) as server:
            found.append(server.status())
    if options.json:
        about = ("pid", "name", "state", "addresses", "directory")
        print(json_text([{key: getattr(status, key) for key in about} for status in found], indent=2))
    else:
        print(render_servers(found))
    return int(ExitCode.OK)


def _status(options: argparse.Namespace) -> int:
    server = find(options, options.server)
    status = server.status()
    if options.json:
        print(json_text(status.to_dict(), indent=2))
    else:
        print(render(status))
    return int(ExitCode.OK)


def _requests(options: argparse.Namespace) -> int:
    server = find(options, options.server)
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
    run(find(options, options.server), interval_s=options.interval, once=options.once, as_json=options.json)
    return int(ExitCode.OK)


def _stack(options: argparse.Namespace) -> int:
    *named, slot = options.where
    if len(named) > 1 or not slot.isdigit():
        raise OptionsError(f"aeros stack [SERVER] SLOT takes the number of a slot, not {' '.join(options.where)!r}")
    stacks = find(options, named[0] if named else None).stack(int(slot))
    print(json_text(stacks.to_dict(), indent=2) if options.json else several_lines(str(stacks)))
    return int(ExitCode.OK)


def _logs(options: argparse.Namespace) -> int:
    if options.lines is not None and options.lines < 0:
        raise OptionsError(f"--lines must be 0 or more, not {options.lines}")
    for event in find(options, options.server).logs(options.lines, follow=options.follow):
        print(several_lines(event), flush=options.follow)
    if options.follow:
        print("aeros: the server has stopped", file=sys.stderr)
    return int(ExitCode.OK)
