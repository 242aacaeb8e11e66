"""The children that have ended: each is reaped by the part that it belongs to, and orphans here."""

from __future__ import annotations

import contextlib

from .control.dashboard import AdminChild
from .state.office import Office
from .upgrade.running import Upgrade
from .workers.workforce import Workforce
from .zygotes.generations import Generations


class Reaper:
    """foreign: whether this process has children that are not ours to reap."""

    def __init__(
        self, office: Office, workforce: Workforce, generations: Generations, upgrade: Upgrade, admin: AdminChild | None
    ) -> None:
        self._office = office
        self._workforce = workforce
        self._generations = generations
        self._upgrade = upgrade
        self._admin = admin
        self.foreign = False

    def reap(self) -> None:
        """Reap zygotes, programs being run again, and every orphan the family (or, as PID 1, the system) left us."""
        system = self._office.system
        self._generations.reap()
        self._upgrade.reap()
        self._workforce.ends.reap_adopted()
        if self._admin is not None:
            self._admin.reap()
        if not self.foreign:
            reloading = self._generations.reloading
            known = (reloading.loader_pid, self._upgrade.pid, *reloading.ahead.pids)
            while (pid := system.ended_child()) and pid not in known:
                # A worker may have ended since the lines above: its exit must not be lost.
                self._workforce.ends.reap_adopted()
                with contextlib.suppress(ChildProcessError):
                    system.reap(pid)
        self._office.poke()
