"""The program's next run, started before it is asked for (`aeros dev`).

It imports Aeros and the framework, which an edit of the app does not change, and waits there. A reload then takes as
long as the app itself takes to import.
"""

from __future__ import annotations

from ...core.ipc.channel import Channel
from ..state.office import Office
from .loader import Loader, run_again, tell_secrets

#: Tells the program, beside the summons, that it is to wait for the first message of its line.
AHEAD_VARIABLE = "AEROS_INTERNAL_AHEAD"
#: One that could not be started, or has ended, is not tried again sooner.
_RETRY_S = 5.0


class Ahead:
    """At most one run that waits. Only a program that knows how to wait may have one: see `CommandLine.waits`."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._waiting: tuple[Loader, Channel] | None = None
        self._ending: Loader | None = None
        self._not_before = 0.0

    @property
    def pids(self) -> list[int]:
        """Those that are reaped here."""
        loaders = [self._waiting[0] if self._waiting is not None else None, self._ending]
        return [loader.pid for loader in loaders if loader is not None]

    def keep(self) -> None:
        """See to it that there is one."""
        now = self._office.system.monotonic()
        if self._waiting is None and self._ending is None and now >= self._not_before:
            self._not_before = now + _RETRY_S
            try:
                self._waiting = run_again(self._office, 0, self._office.command, environ={AHEAD_VARIABLE: "1"})
            except OSError as error:
                self._office.log.debug(f"no run of the program is prepared: {error}")

    def take(self, generation: int) -> tuple[Loader, Channel] | None:
        """Return the run that waits, told to go on as this generation; None if there is none."""
        if self._waiting is None:
            return None
        loader, channel = self._waiting
        self._waiting, self._not_before = None, 0.0
        loader.generation = generation
        tell_secrets(channel, self._office.command)
        return loader, channel

    def drop(self) -> None:
        """What it has imported is out of date, or nobody will want it."""
        if self._waiting is not None:
            self._ending, channel = self._waiting
            self._waiting, self._not_before = None, 0.0
            channel.close()
            self._ending.kill()

    def reap(self) -> None:
        if self._ending is not None and self._ending.reap() is not None:
            self._ending = None
        if self._waiting is not None and self._waiting[0].reap() is not None:
            self._waiting[1].close()
            self._waiting = None
