"""Programs that change their interpreter for good, and so get one of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping


def goes_well(
    program: str, *arguments: str, options: tuple[str, ...] = (), environ: Mapping[str, str] | None = None
) -> None:
    """Run it, and fail unless it says "well", nothing else, and ends. options: the interpreter's."""
    child = subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(program), *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | dict(environ or {}),
        timeout=60,
    )
    assert (child.returncode, child.stdout, child.stderr) == (0, "well\n", "")
