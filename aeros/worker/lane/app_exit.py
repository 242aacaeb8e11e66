"""An app that calls sys.exit() in a handler: an error of that request, which must not end the others."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any

from ...core.text import one_line


def exit_called(error: SystemExit, scope: Mapping[str, Any]) -> str:
    """Return a sentence: who called, and while which request."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    method = scope.get("method", "WebSocket")
    return one_line(
        f"the app called sys.exit({error.code!r}) in {where.name} ({where.filename}:{where.lineno}), "
        f"in {method} {scope['path']}: that request has failed, the worker goes on"
    )
