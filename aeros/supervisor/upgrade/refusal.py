"""Why a server cannot be upgraded, now or ever."""

from __future__ import annotations

import os

from ..state.office import Office


def why_not(office: Office, *, reloading: bool) -> str:
    """Return it in a sentence, "" where nothing is in the way. reloading: whether a reload is under way."""
    if os.getpid() == 1:
        return (
            "the supervisor is PID 1, whose end is the end of its container: start a new container, or reload for "
            "new code"
        )
    if office.command.why_not:
        return f"{office.command.why_not}: there is nothing to start beside it; a reload replaces the workers"
    if not office.was_ready:
        return "the server is still starting"
    return "a reload is under way; ask again when it is over" if reloading else ""
