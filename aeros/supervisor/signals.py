"""What each signal asks of the server. The handlers only wake the loop; this runs inside it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from ..errors import AerosError
from .control.systemd import Notifier
from .state.office import Office
from .verbs import Verbs

#: So long is waited for more of the same before a signal stops anything. Signals that come together are one request:
#: Ctrl+C in a terminal reaches the server and its process manager, which passes it on as SIGTERM. Waiting, and not
#: ignoring those that come soon after: whoever has seen in the log that it stops, and asks again, means now.
_TOGETHER_S = 0.05


class Signals:
    """reap: called when a child has ended."""

    def __init__(self, office: Office, verbs: Verbs, notifier: Notifier, reap: Callable[[], None]) -> None:
        self._office = office
        self._verbs = verbs
        self._notifier = notifier
        self._stop_asked: asyncio.TimerHandle | None = None
        self._meanings: dict[int, Callable[[str], object]] = {
            signal.SIGHUP: lambda name: verbs.reload(None, None, name),
            signal.SIGTERM: self._stop,
            signal.SIGINT: self._stop,
            signal.SIGQUIT: lambda name: verbs.stop("now", name),
            signal.SIGTTIN: lambda name: verbs.scale_by(1),
            signal.SIGTTOU: lambda name: verbs.scale_by(-1),
            signal.SIGUSR1: lambda name: verbs.reopen_logs(),
            signal.SIGUSR2: lambda name: verbs.upgrade(None, None, name),
            signal.SIGCHLD: lambda name: reap(),
        }

    def on_signal(self, signum: int) -> None:
        """Do what it asks for; what cannot be done is said in the log."""
        name = signal.Signals(signum).name
        try:
            self._meanings[signum](name)
        except AerosError as error:
            self._office.log.warning(f"{name} ignored: {error}")
            if signum == signal.SIGHUP:
                self._notifier.refuse_reload(str(error))

    def _stop(self, name: str) -> None:
        """End gracefully, or at a second request at once; see `_TOGETHER_S`."""
        if self._stop_asked is None:
            self._stop_asked = self._office.loop.call_later(_TOGETHER_S, self._stop_as_asked, name)

    def _stop_as_asked(self, name: str) -> None:
        self._stop_asked = None
        self._verbs.stop("now" if self._office.target.stopping else "graceful", name, delayed=True)
