"""aeros dev: serve an app while working on it."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from typing import Any

from ..core.sources import remember
from ..core.text import complaint
from ..dev.ahead import prepare, wait
from ..dev.app import DevelopedApp
from ..dev.failure import Failure
from ..errors import AppLoadError
from ..options import arguments_of, secrets
from ..options.development import PATTERNS
from ..start import serve
from ..start.app.find_app import load_app
from ..supervisor.system.summons import LINE_FD
from ..supervisor.zygotes.ahead import AHEAD_VARIABLE
from .arguments import enter, find_app, take_variables


def run(options: argparse.Namespace) -> int:
    """Serve until Ctrl+C. A program that cannot be loaded is answered for with a page until it can be."""
    enter(options)
    if os.environ.pop(AHEAD_VARIABLE, ""):
        secrets.hide()
        prepare(find_app(options).partition(":")[0], options.app_dir or ".")
        wait(LINE_FD)
    take_variables(options)  # those of the time when they are needed
    name = find_app(options)
    secrets.hide()
    remember(PATTERNS)
    arguments = ["--dev", *arguments_of(options)]
    if options.env_file is not None and not os.path.isabs(options.env_file):  # noqa: PTH117 - a text
        arguments.append(f"--watch={options.env_file}")
    result = serve(name, arguments, _load)
    # Who presses Ctrl+C waits for this: taking apart what was imported takes longer than the whole stop.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(result)


def _load(name: str) -> Any:
    try:
        return load_app(name)
    except AppLoadError as error:
        # Said here, once; each request is answered with it.
        sys.stderr.write(complaint(f"aeros: {error}", error.traceback.rstrip("\n")) + "\n")
        return DevelopedApp(None, Failure(str(error), error.traceback))
