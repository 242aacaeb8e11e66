"""Exceptions that a Quart app answers with 500: told by a signal of Quart's, which is sent for nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

Note = Callable[[BaseException, str, str | None], None]


def watch_exceptions(app: Any, note: Note) -> None:
    """Have `note` be told of each: with the method, and the rule the request has met. Nothing for what is no Quart."""
    quart = sys.modules.get("quart")
    if quart is None or not isinstance(app, quart.Quart):
        return

    def receive(sender: Any, exception: BaseException, **more: Any) -> None:
        if quart.has_request_context():
            rule = quart.request.url_rule
            note(exception, quart.request.method, str(rule.rule) if rule is not None else None)

    quart.signals.got_request_exception.connect(receive, app, weak=False)
