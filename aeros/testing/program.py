"""`python -m aeros.testing.program PID APP …`: `aeros run APP …` that ends with the test process PID."""

from __future__ import annotations

import os
import signal
import sys

from ..core.process.signalling import die_with_parent
from ..core.text import complaint
from ..errors import AerosError
from ..options import secrets
from ..start import serve
from ..supervisor.system.summons import CHANNEL_VARIABLE, UPGRADE_VARIABLE, is_meant


def main() -> int:
    parent, name, *arguments = sys.argv[1:]
    # A reload and an upgrade run this again, as a child of the server; only the first one is the test's own child.
    first = not (is_meant(CHANNEL_VARIABLE, os.environ) or is_meant(UPGRADE_VARIABLE, os.environ))
    if first and parent != "0":
        die_with_parent(signal.SIGTERM)
        if os.getppid() != int(parent):
            return 1
    secrets.hide()
    try:
        return serve(name, arguments)
    except AerosError as error:
        print(complaint(f"aeros: {error}", getattr(error, "traceback", "").rstrip("\n")), file=sys.stderr)  # noqa: T201
        return int(error.exit_code)


if __name__ == "__main__":
    sys.exit(main())
