"""The app of a worker, and what its program wants to be asked or told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ..core.ipc.messages import ReloadOutcome
from ..core.record import record
from .lane.service import DirectPath


@record(kw_only=True)
class HostedApp:
    """direct: returns the way into the app without ASGI messages, if there is one. obstacle: a sentence for the log
    about why there is none.

    after_fork, on_ready, on_reload: hooks. startup_failure: what the app knows of why it did not start: reason,
    traceback, and whether it is logged already.
    """

    app: Any
    direct: Callable[[Any], DirectPath | None]
    obstacle: str | None
    after_fork: Callable[[], None]
    on_ready: Callable[[], Awaitable[None]]
    on_reload: Callable[[ReloadOutcome], None]
    #: Has the given be told of each exception that the app answers with 500: the method, the rule.
    watch_exceptions: Callable[[Callable[[BaseException, str, str | None], None]], None]
    startup_failure: Callable[[], tuple[str, str, bool] | None]
