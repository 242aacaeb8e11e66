"""aeros profile: a flame graph of a live worker."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..core.exitcodes import ExitCode
from ..errors import OptionsError
from ..status.profile import KINDS
from .arguments import Commands, find, server_option, some_seconds, title

_LONGEST_S = 600.0


def add(commands: Commands) -> None:
    parser = commands.add_parser(
        "profile",
        usage="%(prog)s [-h] [--server PID|PATH] [--seconds TIME] [--output PATH] [SERVER] SLOT",
        help="show where a worker spends its time, as a flame graph",
        description="Sample a worker for some seconds, and write a flame graph (HTML) and a file for speedscope: time "
        "on the processor, calls that block the event loop, awaits of requests. The worker serves on.",
    )
    parser.add_argument("where", nargs="+", metavar="[SERVER] SLOT", help="the worker's slot, as in aeros status")
    server_option(parser)
    parser.add_argument("--seconds", type=some_seconds, default=10.0, metavar="TIME", help="how long (default: 10s)")
    parser.add_argument(
        "--output",
        metavar="PATH",
        help="write this alone: .json for speedscope, else HTML (default: profile-PID.html and .speedscope.json here)",
    )
    parser.set_defaults(run=_profile)


def _profile(options: argparse.Namespace) -> int:
    *named, slot = options.where
    if len(named) > 1 or not slot.isdecimal():
        raise OptionsError(f"aeros profile [SERVER] SLOT takes the number of a slot, not {' '.join(options.where)!r}")
    if options.seconds > _LONGEST_S:
        raise OptionsError(f"--seconds must be at most {_LONGEST_S:.0f}, not {options.seconds:g}")
    if options.output is not None and not Path(options.output).absolute().parent.is_dir():
        raise OptionsError(f"--output {options.output}: there is no such directory")
    server = find(options, named[0] if named else None)
    about = title(server)
    profile = server.profile(int(slot), options.seconds)
    if options.output is not None:
        paths = [Path(options.output)]
    else:
        paths = [Path(f"profile-{profile.pid}.html"), Path(f"profile-{profile.pid}.speedscope.json")]
    for path in paths:
        try:
            path.write_text(profile.speedscope() if path.suffix == ".json" else profile.html())
        except OSError as error:
            raise OptionsError(f"cannot write {path}: {error.strerror}") from None
    times = ", ".join(f"{profile.seconds_of(kind):.2f} s {kind}" for kind in KINDS)
    print(f"{about}: {profile.name}, {profile.seconds:.1f} s: {times}")
    print(f"written: {', '.join(map(str, paths))}")
    return int(ExitCode.OK)
