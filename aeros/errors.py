"""Everything Aeros raises on purpose.

AerosError
├── OptionsError            an option is unknown, of the wrong type, out of range, or contradicts another
├── StateError              the call does not fit the moment: start() twice, start() inside a worker, …
├── StartError              the server could not be brought up; nothing is left running
│   ├── BindError           an address could not be bound
│   └── AppLoadError        the app could not be imported, is not ASGI, or its start-up failed
├── ReloadFailed            a reload was refused; the old workers go on serving
├── UpgradeFailed           an upgrade was refused; the old supervisor goes on serving
├── ControlError            the control channel: nobody there, refused, garbage, timed out
│   └── NotAServerError     the pid or path named is not a running Aeros server
└── ServerStopped           the server ended while something was being asked of it
"""

from __future__ import annotations

from .core.exitcodes import ExitCode


class AerosError(Exception):
    """Base of all errors raised by Aeros; catching it catches nothing else."""

    exit_code: ExitCode = ExitCode.FAILURE


class OptionsError(AerosError):
    """An option cannot be used as given. The message names it and says what would do; fix the call."""

    exit_code = ExitCode.USAGE

    def __init__(self, message: str, *, option: str | None = None) -> None:
        super().__init__(message)
        self.option = option


class StateError(AerosError):
    """The call does not fit the moment, e.g. `start()` on a server that runs already."""

    exit_code = ExitCode.USAGE


class StartError(AerosError):
    """The server could not be brought up, and nothing of it is left running.

    traceback: the app's own traceback as text, or "" where there is none.
    """

    exit_code = ExitCode.FAILURE

    def __init__(self, message: str, *, traceback: str = "", exit_code: ExitCode | None = None) -> None:
        super().__init__(message)
        self.traceback = traceback
        if exit_code is not None:
            self.exit_code = exit_code


class BindError(StartError):
    """An address could not be bound. The message names the address, and its holder where that is known."""

    exit_code = ExitCode.BIND


class AppLoadError(StartError):
    """The app could not be imported, is not an ASGI app, or its start-up (lifespan) failed."""

    exit_code = ExitCode.APP


class ReloadFailed(AerosError):  # noqa: N818 - the documented name
    """A reload was refused and the old workers go on serving. `traceback` holds the new program's, as text."""

    def __init__(self, message: str, *, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class UpgradeFailed(AerosError):  # noqa: N818 - as ReloadFailed
    """An upgrade was refused and the server goes on as it was. `traceback` holds the new program's, as text."""

    def __init__(self, message: str, *, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class ControlError(AerosError):
    """A request to a running server could not be made or was refused; the server is unharmed."""


class NotAServerError(ControlError):
    """The pid or path given is not a running Aeros server (or is another user's)."""


class ServerStopped(ControlError):  # noqa: N818 - a state, not a fault
    """The server ended while the request was under way."""
