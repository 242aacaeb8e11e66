"""Whether a worker may give requests to its app without ASGI messages: to a Quart app of a version that we know."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from .versions import knows_quart, own_code

if TYPE_CHECKING:
    from .delivery import DirectPath


def _may() -> bool:
    return "quart" in sys.modules and knows_quart()  # a plain ASGI app must not need Quart


def preload() -> None:
    """Import what `direct_path` needs, and what tells exceptions, before workers are forked."""
    from . import exceptions  # noqa: F401

    if _may():
        from . import delivery, forms, ranges  # noqa: F401


def direct_path(app: Any) -> DirectPath | None:
    """Return the direct path into the app, None where it is served by ASGI messages. Mends Quart's forms and ranges."""
    if not _may():
        return None
    from .delivery import direct_path
    from .forms import bound_forms
    from .ranges import mend_ranges

    bound_forms()
    mend_ranges()
    return direct_path(app)


def obstacle(app: Any) -> str | None:
    """Return a sentence for the log if the app is a Quart app that has no direct path for its version alone."""
    is_quart = "quart" in sys.modules and isinstance(app, sys.modules["quart"].Quart)
    return own_code() if is_quart else None
