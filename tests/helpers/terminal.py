"""A program in a terminal of its own: keys can be pressed, and what is shown can be read."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import termios
import threading
from collections.abc import Callable

CTRL_C = b"\x03"


class Terminal:
    """A pseudo-terminal that does not echo. Give `preexec()` to the program; `shown` is the text so far."""

    def __init__(self) -> None:
        self._master, self.slave = pty.openpty()
        attributes = termios.tcgetattr(self.slave)
        attributes[3] &= ~termios.ECHO  # type: ignore[operator]
        termios.tcsetattr(self.slave, termios.TCSANOW, attributes)
        self._seen = b""
        self._over = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True, name="terminal")
        self._reader.start()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._reader.join(5)
        os.close(self._master)
        os.close(self.slave)

    def preexec(self) -> Callable[[], None]:
        """For the child, after setsid: makes this its controlling terminal and its standard streams."""
        slave = self.slave

        def take() -> None:
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
            for fd in (0, 1, 2):
                os.dup2(slave, fd)
            # Tests that run in the background of a shell have it ignored, and children inherit that.
            signal.signal(signal.SIGINT, signal.SIG_DFL)

        return take

    def _read(self) -> None:
        while not self._over.is_set():
            readable, _, _ = select.select([self._master], [], [], 0.05)
            if not readable:
                continue
            try:
                data = os.read(self._master, 65536)
            except OSError:
                return
            self._seen += data

    @property
    def shown(self) -> str:
        return self._seen.decode(errors="replace").replace("\r\n", "\n")

    def press(self, keys: bytes) -> None:
        os.write(self._master, keys)
