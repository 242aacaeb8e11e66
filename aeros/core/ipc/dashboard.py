"""What the supervisor tells the dashboard's process, through a file without a name: a token has no place in a command
line or in an environment."""

from __future__ import annotations

import json
import os

from ..record import as_dict, record
from ..shared.anonymous import finished_file

#: The descriptors the dashboard's process is born with: its channel, its listening socket, its settings.
CHANNEL_FD, LISTENER_FD, SETTINGS_FD = 3, 4, 5


@record
class AdminSettings:
    """host: that the socket was bound to; "": a Unix socket. token: "" where none is needed. write: whether commands
    are taken.

    ready_min: workers that must serve for /readyz to say yes. metrics_directory: where the workers keep the app's own
    metrics; "" where they do not. proctitle: the program's name in the process's title; "": no title.
    details: whether exceptions, the log and stacks are shown.
    """

    name: str
    host: str
    token: str
    write: bool
    ready_min: int
    metrics_directory: str
    proctitle: str
    details: bool = True

    def to_file(self) -> int:
        """Return the descriptor of a file that holds them; the caller closes it."""
        return finished_file("aeros-admin", json.dumps(as_dict(self)).encode())

    @classmethod
    def from_file(cls, fd: int) -> AdminSettings:
        """Return what `to_file` wrote. Raises ValueError, TypeError for what is something else."""
        return cls(**json.loads(os.pread(fd, os.fstat(fd).st_size, 0)))

    def __repr__(self) -> str:
        """Without the token."""
        return f"AdminSettings(host={self.host!r}, write={self.write})"
