"""The other end of NOTIFY_SOCKET, as systemd holds it."""

from __future__ import annotations

import socket
import threading

from .conditions import eventually

Message = dict[str, str]


class NotifySocket:
    """Listens at `address` (a path, or @name) and keeps each datagram as NAME → value."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.messages: list[Message] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.settimeout(0.1)
        self._ended = False
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> NotifySocket:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._thread.join()
        self._socket.close()

    def _read(self) -> None:
        while not self._ended:
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                continue
            lines = data.decode().splitlines()
            self.messages.append(dict(line.split("=", 1) for line in lines))

    def with_(self, name: str, value: str | None = None) -> list[Message]:
        """Those that have this variable (with that value)."""
        return [said for said in list(self.messages) if name in said and value in (None, said[name])]

    def wait(self, name: str, value: str | None = None, count: int = 1, deadline_s: float = 30.0) -> Message:
        """Wait for so many of them; the last."""

        def enough() -> Message | None:
            found = self.with_(name, value)
            return found[-1] if len(found) >= count else None

        message = eventually(enough, deadline_s, f"{count} x {name}={value}; so far {self.messages}")
        assert message is not None
        return message

    def order(self) -> list[str]:
        """The changes of state in the order they came."""
        states = ("READY", "RELOADING", "STOPPING", "MAINPID")
        return [name for said in list(self.messages) for name in states if name in said]
