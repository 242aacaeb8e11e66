"""Aeros: production serving for Quart apps, straight from Python.

    from aeros import WebServer

    app = WebServer(__name__)
    ...
    app.start("-w 4")

Names are imported when they are first used, so that `aeros status` does not pay for Quart.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

# First: our modules import what only POSIX has.
if sys.platform == "win32":
    _REFUSAL = "Aeros needs fork(), which Windows does not have: run it in WSL (the Windows Subsystem for Linux)"
    # People who type the command get the sentence alone, a program an error that it can catch.
    is_command = sys.argv[0] == "-m" or Path(sys.argv[0]).name.startswith("aeros")
    raise SystemExit(f"aeros: {_REFUSAL}") if is_command else ImportError(_REFUSAL)

from importlib import import_module
from typing import TYPE_CHECKING

from .core.memory.collector import paused
from .core.process import attributes as _attributes  # noqa: F401 - first: they read how we were started
from .core.process import origin as _origin  # noqa: F401
from .core.process import streams
from .version import __version__

# Before anything is opened that could get the number of a standard stream.
streams.secure()

if os.getpid() == 1:
    from .core.process.signalling import end_when_first

    end_when_first()

if TYPE_CHECKING:
    from .app import WebServer
    from .core.exitcodes import ExitCode
    from .core.request_id import request_id
    from .errors import (
        AerosError,
        AppLoadError,
        BindError,
        ControlError,
        NotAServerError,
        OptionsError,
        ReloadFailed,
        ServerStopped,
        StartError,
        StateError,
        UpgradeFailed,
    )
    from .hooks import WorkerInfo
    from .logs import JSONFormatter, RequestIdFilter
    from .server import Server, connect, running_servers
    from .start.serving import current_server, serve
    from .status.latency import LatencyHistogram
    from .status.profile import ProfiledStack, WorkerProfile
    from .status.records import (
        AcceptQueue,
        LastExit,
        Reloaded,
        ServerStatus,
        SlotStatus,
        Totals,
        Upgraded,
        WorkerStatus,
    )
    from .status.requests import RequestInFlight
    from .status.stacks import Stack, WorkerStacks
    from .worker.context import current_worker

_HOMES = {
    "app": ("WebServer",),
    "start.serving": ("current_server", "serve"),
    "worker.context": ("current_worker",),
    "core.exitcodes": ("ExitCode",),
    "core.request_id": ("request_id",),
    "errors": (
        "AerosError",
        "AppLoadError",
        "BindError",
        "ControlError",
        "NotAServerError",
        "OptionsError",
        "ReloadFailed",
        "ServerStopped",
        "StartError",
        "StateError",
        "UpgradeFailed",
    ),
    "hooks": ("WorkerInfo",),
    "status.requests": ("RequestInFlight",),
    "status.latency": ("LatencyHistogram",),
    "logs": ("JSONFormatter", "RequestIdFilter"),
    "server": ("Server", "connect", "running_servers"),
    "status.profile": ("ProfiledStack", "WorkerProfile"),
    "status.stacks": ("Stack", "WorkerStacks"),
    "status.records": (
        "AcceptQueue",
        "LastExit",
        "Reloaded",
        "ServerStatus",
        "SlotStatus",
        "Totals",
        "Upgraded",
        "WorkerStatus",
    ),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AcceptQueue",
    "AerosError",
    "AppLoadError",
    "BindError",
    "ControlError",
    "ExitCode",
    "JSONFormatter",
    "LastExit",
    "LatencyHistogram",
    "NotAServerError",
    "OptionsError",
    "ProfiledStack",
    "ReloadFailed",
    "Reloaded",
    "RequestIdFilter",
    "RequestInFlight",
    "Server",
    "ServerStatus",
    "ServerStopped",
    "SlotStatus",
    "Stack",
    "StartError",
    "StateError",
    "Totals",
    "UpgradeFailed",
    "Upgraded",
    "WebServer",
    "WorkerInfo",
    "WorkerProfile",
    "WorkerStacks",
    "WorkerStatus",
    "__version__",
    "connect",
    "current_server",
    "current_worker",
    "request_id",
    "running_servers",
    "serve",
]


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'aeros' has no attribute {name!r}")
    with paused():
        value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
