"""Aeros: production serving for Quart apps, straight from Python.

from aeros import WebServer

app = WebServer(__name__)
...
app.start("-w 4")
"""

from __future__ import annotations

from .app import WebServer
from .core.exitcodes import ExitCode
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
)
from .hooks import WorkerInfo
from .server import Server, connect, running_servers
from .status import LastExit, Reloaded, ServerStatus, SlotStatus, Totals, WorkerStatus
from .version import __version__

__all__ = [
    "AerosError",
    "AppLoadError",
    "BindError",
    "ControlError",
    "ExitCode",
    "LastExit",
    "NotAServerError",
    "OptionsError",
    "ReloadFailed",
    "Reloaded",
    "Server",
    "ServerStatus",
    "ServerStopped",
    "SlotStatus",
    "StartError",
    "StateError",
    "Totals",
    "WebServer",
    "WorkerInfo",
    "WorkerStatus",
    "__version__",
    "connect",
    "running_servers",
]
