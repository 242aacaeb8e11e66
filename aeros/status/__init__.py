"""What one may know of a server: frozen records."""

from .latency import LatencyHistogram
from .profile import ProfiledStack, WorkerProfile
from .records import AcceptQueue, LastExit, Reloaded, ServerStatus, SlotStatus, Totals, Upgraded, WorkerStatus
from .requests import RequestInFlight
from .stacks import Stack, WorkerStacks

__all__ = [
    "AcceptQueue",
    "LastExit",
    "LatencyHistogram",
    "ProfiledStack",
    "Reloaded",
    "RequestInFlight",
    "ServerStatus",
    "SlotStatus",
    "Stack",
    "Totals",
    "Upgraded",
    "WorkerProfile",
    "WorkerStacks",
    "WorkerStatus",
]
