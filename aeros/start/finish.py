"""What is added to options once the app is known."""

from __future__ import annotations

from typing import Any

from ..core.process.origin import here
from ..core.record import replace
from ..options import Options
from ..options.anchor import anchored
from ..titles import program_label


def app_name(app: Any) -> str:
    return getattr(app, "name", "") or type(app).__name__


def finished(options: Options, app: Any, program: str = "", directory: str = "") -> Options:
    """Return the options with the label of process titles, and with paths that mean what they meant at the start.

    program: what `aeros run` was told to serve, if it was. directory: where it stood before it loaded the app.
    """
    wanted = program if program and options.proctitle == "auto" else options.proctitle
    options = replace(options, proctitle=program_label(wanted, app_name(app)))
    return anchored(options, directory) if directory and here() != directory else options
