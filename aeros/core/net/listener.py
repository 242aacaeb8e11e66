"""A listening socket as every process of the family knows it."""

from __future__ import annotations

import os
import socket
from typing import Any, Literal

from ..record import field, mutable

Kind = Literal["secure", "insecure", "quic"]


@mutable
class Listener:
    """One bound socket. bind: as the user wrote it. inode: of the Unix socket file we made, else 0.

    group: of UDP, the sockets at the same address by seat, behind `sock`; see core.net.steering.
    """

    sock: socket.socket
    bind: str
    kind: Kind
    inode: int = 0
    path: str = ""
    group: list[socket.socket] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Return where it really listens, as a URL without path: http://127.0.0.1:8000, unix:/run/app.sock, unix:@x."""
        name = self.sock.getsockname()
        scheme = "http" if self.kind == "insecure" else "https"
        if self.sock.family == socket.AF_UNIX:
            # The name of an abstract socket begins with a zero byte, and is no path.
            return f"unix:{name}" if isinstance(name, str) else f"unix:@{os.fsdecode(name[1:])}"
        host, port = name[0], name[1]
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    def describe(self) -> dict[str, Any]:
        """Return what goes beside the descriptor to another process."""
        return {"bind": self.bind, "kind": self.kind}

    def bequest(self) -> dict[str, Any]:
        """Return what goes beside the descriptor to a supervisor that is to succeed this one."""
        return {"bind": self.bind, "kind": self.kind, "inode": self.inode, "path": self.path}

    def close(self) -> None:
        for sock in (self.sock, *self.group):
            sock.close()

    def own(self, bequest: dict[str, Any]) -> None:
        """Take what the old supervisor said of it: the socket file is ours to remove."""
        self.inode, self.path = int(bequest.get("inode", 0)), str(bequest.get("path", ""))

    @classmethod
    def adopt(cls, fd: int, record: dict[str, Any]) -> Listener:
        """Return the listener another process of the family sent; it stays the other's to remove."""
        return cls(socket.socket(fileno=fd), record["bind"], record["kind"])
