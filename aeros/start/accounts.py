"""Whom the app runs as, with --run-as."""

from __future__ import annotations

import sys

from ..core.process.origin import directory_of_start
from ..core.process.privileges import Account, find_account, may_become, readable_by
from ..errors import OptionsError


def account_of(run_as: str | None) -> Account | None:
    """Return whom the app runs as; None: as we do. Raises OptionsError."""
    if run_as is None:
        return None
    account = find_account(run_as)
    if not may_become(account):
        raise OptionsError(f"--run-as {run_as} needs the server to be started by root", option="run_as")
    return account


def out_of_reach(account: Account | None) -> list[str]:
    """Return the paths that the app's user needs and may not read."""
    program = sys.argv[0] if sys.argv and sys.argv[0] not in ("", "-", "-c") else ""
    wanted = filter(None, (directory_of_start(), sys.executable, program))
    return [path for path in wanted if account is not None and not readable_by(account, path)]
