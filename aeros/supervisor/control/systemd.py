"""What systemd is told of this server (Type=notify-reload), see sd_notify(3). Nothing here waits."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping
from typing import TYPE_CHECKING

from ...core.clock import show_duration
from ...core.log.lines import LineLog
from ...core.record import record
from ...core.text import one_line

if TYPE_CHECKING:
    from ...status.records import Reloaded

_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
#: While the server starts, reloads or stops, systemd is asked for this much more time, this often. Each of these has
#: deadlines of the server's own, so it ends.
_EXTEND_S = 30.0
_EXTEND_EVERY_S = 5.0
_CHANGING = ("starting", "reloading", "stopping")
_MOST_UNSENT = 32


def take_variables(environ: MutableMapping[str, str]) -> dict[str, str]:
    """Take what systemd has told this process out of `environ`: what the app runs is not to speak for the server."""
    return {name: value for name in _VARIABLES if (value := environ.pop(name, ""))}


@record
class Facts:
    """How the server is doing. state: as in the status. reload: the number of the reload under way, 0 for none."""

    state: str
    was_ready: bool
    serving: int
    wanted: int
    generation: int
    reload: int
    last: Reloaded | None


class Notifier:
    """Sends what changed. Made before the first fork, it opens its socket later: no child gets it."""

    def __init__(self, where: str, watchdog_s: float, environment: dict[str, str], log: LineLog) -> None:
        """where: the socket's path, @name for an abstract one, "" for nowhere."""
        self.environment = environment
        self._where = "\0" + where[1:] if where.startswith("@") else where
        self._log = log
        self._socket: socket.socket | None = None
        self._complained = False
        self._unsent: list[bytes] = []
        self._feed_every_s = watchdog_s / 2
        self._fed_at = self._extended_at = 0.0
        self._ready = self._stopping = False
        self._reload = 0
        self._status = ""
        #: While another supervisor is the one systemd knows, nothing is said.
        self.muted = False

    @classmethod
    def of(cls, told: dict[str, str], log: LineLog, predecessor: int = 0) -> Notifier:
        """told: see `take_variables`. predecessor: the supervisor this one succeeds, whose watchdog becomes ours."""
        ours = told.get("WATCHDOG_PID", "") in ("", str(os.getpid()), str(predecessor))
        usec = told.get("WATCHDOG_USEC", "") if ours else ""
        return cls(told.get("NOTIFY_SOCKET", ""), int(usec) / 1e6 if usec.isdecimal() else 0.0, told, log)

    @property
    def wake_at(self) -> float:
        """Return when something is due although nothing happens, in monotonic seconds; 0.0 for never."""
        return self._fed_at + self._feed_every_s if self._where and self._feed_every_s else 0.0

    def tell(self, facts: Facts, now: float) -> None:
        """Say what is new since the last time. now: monotonic seconds. Called by the supervisor's loop on every pass: a
        loop that stands still feeds no watchdog."""
        if not self._where or self.muted:
            return
        self._report(facts)
        if self._feed_every_s and now >= self._fed_at + self._feed_every_s:
            self._fed_at = now
            self._queue("WATCHDOG=1")
        if facts.state in _CHANGING and now >= self._extended_at + _EXTEND_EVERY_S:
            self._extended_at = now
            self._queue(f"EXTEND_TIMEOUT_USEC={int(_EXTEND_S * 1e6)}")
        self._flush()

    def refuse_reload(self, reason: str) -> None:
        """A reload asked for by signal does not even begin; `systemctl reload` is not to wait for it."""
        if self._where and not self.muted and self._ready and not self._reload and not self._stopping:
            self._status = f"reload refused: {_short(reason)}"
            self._queue("RELOADING=1", _monotonic(), f"STATUS={self._status}")
            self._queue("READY=1", f"STATUS={self._status}")
            self._flush()

    def hand_over(self, pid: int) -> None:
        """The supervisor `pid` is the service from now on; this one is silent."""
        if self._where and not self.muted:
            self._queue(f"MAINPID={pid}")
            self._flush()
        self.muted = True

    def close(self) -> None:
        if self._socket is not None:
            self._flush()
            self._socket.close()
            self._socket = None

    def _report(self, facts: Facts) -> None:
        status = _status(facts)
        news: list[str] = []
        if facts.state == "stopping":
            if not self._stopping:
                self._stopping = True
                news = ["STOPPING=1"]
        elif facts.was_ready:
            if self._reload not in (0, facts.reload):
                # What systemd waits for is the end of the reload it asked for; the next one may have begun already.
                self._queue("READY=1", f"STATUS={status}")
            if facts.reload and facts.reload != self._reload:
                news = ["RELOADING=1", _monotonic()]
            elif not self._ready:
                news = ["READY=1"]
            self._ready, self._reload = True, facts.reload
        if news or status != self._status:
            self._status = status
            self._queue(*news, f"STATUS={status}")

    def _queue(self, *lines: str) -> None:
        self._unsent.append("\n".join(lines).encode())
        del self._unsent[:-_MOST_UNSENT]

    def _flush(self) -> None:
        try:
            if self._socket is None:
                if self._where[0] not in "/\0":
                    raise OSError(0, "only paths and abstract names can be used")
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.setblocking(False)
            while self._unsent:
                self._socket.sendto(self._unsent[0], self._where)
                del self._unsent[0]
        except BlockingIOError:
            pass  # the listener is busy; the next pass tries again
        except OSError as error:
            self._unsent.clear()
            if not self._complained:
                self._complained = True
                where = self._where.replace("\0", "@")
                self._log.info(f"systemd cannot be told how the server is doing: {where}: {error.strerror or error}")


def _monotonic() -> str:
    return f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"


def _status(facts: Facts) -> str:
    text = f"{facts.state}: {facts.serving} of {facts.wanted} workers ready, generation {facts.generation}"
    if facts.last is not None and facts.last.ok:
        at = time.strftime("%H:%M:%S", time.localtime(facts.last.at))
        text += f"; reloaded at {at} in {show_duration(facts.last.seconds)}"
    elif facts.last is not None:
        text += f"; last reload failed: {_short(facts.last.reason)}"
    return text


def _short(reason: str) -> str:
    return one_line(reason.partition("\n")[0])[:300]
