"""scripts/bench: measure Aeros beside its peers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from . import life, load, memory, real, report, speed
from .servers import KINDS, ServerFailedError
from .tell import note, say


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"there is no {name!r}; there is: {', '.join(known)}")
        return names

    return parse


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument(
        "what", choices=[*_MEASURES, "all", "report"], help="all: everything, then report; report: docs"
    )
    parser.add_argument("--servers", type=_names(list(KINDS)), help="comma-separated; default: all that make sense")
    parser.add_argument("--rows", type=_names(list(speed.ROWS)), default=list(speed.ROWS), help="speed: which rows")
    parser.add_argument(
        "--rounds", type=int, help="how often (speed: 5, boot: 10, recovery: 20, reload: 5, balance: 10)"
    )
    parser.add_argument(
        "--seconds",
        type=int,
        help="how long each load lasts, whole seconds as wrk wants (speed: 3), how long idle is watched (20)",
    )
    parser.add_argument("--workers", type=_numbers, help="memory: which numbers of workers; idle: how many")
    parser.add_argument("--requests", type=int, default=memory.REQUESTS, help="memory: how many requests before")
    return parser


def _memory(options: argparse.Namespace) -> Any:
    return memory.measure(options.servers or memory.KINDS, options.workers or memory.COUNTS, options.requests)


def _program(options: argparse.Namespace) -> Any:
    return real.measure(options.servers or real.KINDS)


def _speed(options: argparse.Namespace) -> Any:
    if missing := load.missing_tools():
        note(f"needed and not installed: {' '.join(missing)} (Debian: apt-get install {' '.join(missing)})")
        sys.exit(2)
    return speed.measure(options.servers or speed.KINDS, options.rows, options.rounds or 5, options.seconds or 3.0)


def _boot(options: argparse.Namespace) -> Any:
    return life.boot(options.servers or life.KINDS, options.rounds or 10)


def _recovery(options: argparse.Namespace) -> Any:
    return life.recovery(options.servers or life.RECOVERY_KINDS, options.rounds or 20)


def _reload(options: argparse.Namespace) -> Any:
    return life.reload(options.servers or life.KINDS, options.rounds or 5)


def _balance(options: argparse.Namespace) -> Any:
    return life.balance(options.servers or life.KINDS, options.rounds or 10)


def _idle(options: argparse.Namespace) -> Any:
    workers = options.workers[0] if options.workers else 64
    return life.idle(options.servers or ["aeros"], workers, options.seconds or 20.0)


_MEASURES: dict[str, Callable[[argparse.Namespace], Any]] = {
    "memory": _memory,
    "program": _program,
    "speed": _speed,
    "boot": _boot,
    "recovery": _recovery,
    "reload": _reload,
    "balance": _balance,
    "idle": _idle,
}


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    chosen = list(_MEASURES) if options.what == "all" else [options.what] if options.what in _MEASURES else []
    try:
        for what in chosen:
            say(f"--- {what}")
            data = _MEASURES[what](options)
            report.keep(what, data, sys.argv[1:])
            for line in report.table_of(what, data):
                say(line)
    except ServerFailedError as error:
        note(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    if options.what in ("all", "report"):
        report.write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
