"""Aeros's own log, opened as the options want it."""

from __future__ import annotations

from typing import Any

from ..core.log.lines import LineLog
from ..core.process.files import make_logs
from ..core.process.privileges import Account
from ..errors import OptionsError


def make_log(options: Any, account: Account | None = None) -> LineLog:
    """Return Aeros's own log as `options` want it, and see to it that workers can open theirs.

    options: an `Options` or a `Plan`. account: whom the app runs as. Raises OptionsError when a file cannot be written.
    """
    error_log, access_log = options.error_log or "", options.access_log or ""
    name, path = "error_log", error_log
    try:
        log = LineLog(error_log, level=options.log_level.lower(), log_format=options.log_format, account=account)
        name, path = "access_log", access_log
        if path not in ("", "-"):
            make_logs([path], account)
    except OSError as error:
        raise OptionsError(
            f"cannot write the log {path} (--{name.replace('_', '-')}file): {error.strerror}", option=name
        ) from None
    return log
