"""What the running supervisor tells its successor of what that inherits, and the descriptors that go along."""

from __future__ import annotations

import os
from typing import Any

from ...core.process.streams import standard
from ..control.dashboard import AdminChild
from ..state.office import Office
from .inheritance import Estate


def descriptors(office: Office, estate: Estate, admin: AdminChild | None) -> list[int]:
    """Return them in the order that `Inheritance` takes them in."""
    fds = [standard(2), *(listener.sock.fileno() for listener in office.listeners)]
    if admin is not None:
        fds.append(admin.listener.sock.fileno())
    if estate.pid_file is not None:
        fds.append(estate.pid_file.fd)
    return fds + office.datagrams.further


def facts(office: Office, estate: Estate, admin: AdminChild | None, workers_asked: int) -> dict[str, Any]:
    """workers_asked: how many this supervisor was started with; 0 where the new one is to be told by its arguments."""
    datagrams = office.datagrams
    return {
        "pid": os.getpid(),
        "listeners": [listener.bequest() for listener in office.listeners],
        "admin": admin.listener.bequest() if admin is not None else None,
        "pid_file": estate.pid_file.path if estate.pid_file is not None else "",
        "metrics_directory": estate.metrics_directory,
        "workers": {"asked": workers_asked, "now": office.target.workers},
        "datagrams": {"sizes": datagrams.sizes, "seats": sorted(datagrams.seats)},
        "tickets": office.certificates.secret.bequest(office.system.monotonic()),
    }
