"""The dashboard's process as the supervisor sees it: a child that is started, missed when it dies, and ended.

Nothing the server does waits for it or depends on it. Its listening socket is held here, so that while it is being
started again its clients wait in the queue instead of being refused.
"""

from __future__ import annotations

import contextlib
import os
import signal
from asyncio import TimerHandle
from collections.abc import Callable

from ...core.clock import show_duration
from ...core.ipc.channel import Channel
from ...core.ipc.dashboard import CHANNEL_FD, LISTENER_FD, SETTINGS_FD, AdminSettings
from ...core.net.listener import Listener
from ...core.process.signalling import describe_exit
from ..sockets.listeners import close_all
from ..state.office import Office

_FIRST_DELAY_S = 0.1
_LONGEST_DELAY_S = 30.0
#: One that lived this long is not in a crash loop.
_WELL_S = 30.0
#: How long an upgrade waits for one to be up, so that clients do not have to.
_UP_S = 4.0
#: How long one that has been succeeded may take to answer what it was asked; it ends by itself a second before that.
_RETIRE_S = 3.0


class AdminChild:
    """At most one process at a time. Only code called from the supervisor's loop touches it."""

    def __init__(self, listener: Listener, settings: AdminSettings) -> None:
        self.listener = listener
        self.address = listener.address
        self._settings = settings
        self._office: Office
        self._adopt: Callable[[Channel], None]
        self._pid = 0
        self._started_at = 0.0
        self._delay_s = 0.0
        self._timer: TimerHandle | None = None
        self._closed = False
        self._kill_at = 0.0
        self._awaited_until = 0.0
        #: Whether it has been ready to accept.
        self.up = False

    def open(self, office: Office, adopt: Callable[[Channel], None]) -> None:
        """Start it, from inside the loop. adopt: serves its channel as a control client's."""
        self._office = office
        self._adopt = adopt
        self._awaited_until = office.system.monotonic() + _UP_S
        self._start()

    def leave(self) -> None:
        """This process is no supervisor: it has neither the socket nor the token."""
        self.listener.sock.close()
        del self._settings

    def awaited(self, now: float) -> bool:
        """Whether an upgrade is to wait for it a little longer. now: monotonic seconds."""
        return not self.up and now < self._awaited_until

    def _start(self) -> None:
        self._timer = None
        system = self._office.system
        self._started_at = system.monotonic()
        try:
            channel, theirs = system.channel_pair("the dashboard")
            with theirs:
                settings = system.memory_file(self._settings.to_file)
                try:
                    inherited = {
                        CHANNEL_FD: theirs.fileno(),
                        LISTENER_FD: self.listener.sock.fileno(),
                        SETTINGS_FD: settings,
                    }
                    self._pid = system.launch_module("aeros.dashboard", inherited, self._office.command)
                finally:
                    os.close(settings)
        except OSError as error:
            self._again(f"cannot start the dashboard: {error.strerror or error}")
            return
        self._adopt(channel)

    def reap(self) -> None:
        """Take note of its end, if it has ended."""
        if not self._pid:
            return
        try:
            status = self._office.system.reap(self._pid)
        except ChildProcessError:
            status = 0
        if status is None:
            return
        pid, self._pid = self._pid, 0
        if not self._closed:
            self._again(f"dashboard pid={pid} ended ({describe_exit(status)}); the server does not need it")

    def _again(self, why: str) -> None:
        if self._office.system.monotonic() - self._started_at >= _WELL_S:
            self._delay_s = 0.0
        self._delay_s = min(_LONGEST_DELAY_S, self._delay_s * 2 or _FIRST_DELAY_S)
        self._office.log.warning(f"{why}; started again in {show_duration(self._delay_s)}")
        self._timer = self._office.loop.call_later(self._delay_s, self._start)

    def retire(self, *, kept: bool) -> None:
        """Have it accept no more, and end when it has answered. kept: another one serves the same socket now."""
        if kept:
            self.listener.path = ""  # the file is its to remove
        self._let_go()
        if self._pid:
            self._kill_at = self._office.system.monotonic() + _RETIRE_S
            with contextlib.suppress(ProcessLookupError):
                self._office.system.kill(self._pid, signal.SIGTERM)

    def retiring(self, now: float) -> float:
        """Return until when its end is to be waited for, 0.0 when it is not. now: monotonic seconds."""
        return self._kill_at if self._pid and now < self._kill_at else 0.0

    def _let_go(self) -> None:
        """Start it no more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        close_all([self.listener])

    def close(self) -> None:
        """End it at once."""
        self._let_go()
        if self._pid:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                self._office.system.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
            self._pid = 0
