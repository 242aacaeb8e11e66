"""Where the servers of one user and those who have something to say to them meet."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def runtime_directory() -> Path:
    """Return the directory of this user's control sockets, without making it."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    if base and Path(base).is_dir():
        return Path(base) / "aeros"
    return Path(tempfile.gettempdir()) / f"aeros-{os.getuid()}"


def socket_path(pid: int) -> Path:
    """Return where the supervisor `pid` of this user listens for commands."""
    return runtime_directory() / f"{pid}.sock"
