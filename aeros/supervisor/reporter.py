"""Tells systemd, the process title and the scoreboard how the server is doing, at the end of each pass of the loop."""

from __future__ import annotations

import os
from typing import Any

from ..core.clock import wall_time
from ..titles import Title
from .control.dashboard import AdminChild
from .control.socket import ControlLine
from .control.systemd import Notifier
from .state.office import Office
from .summary import Known, facts_of, state_of, summary
from .takeover import Takeover
from .upgrade.running import Upgrade
from .workers.workforce import Workforce
from .zygotes.generations import Generations


class Reporter:
    """One per supervisor. It decides nothing."""

    def __init__(
        self,
        office: Office,
        workforce: Workforce,
        generations: Generations,
        upgrade: Upgrade,
        takeover: Takeover,
        notifier: Notifier,
        admin: AdminChild | None,
    ) -> None:
        self.addresses = [listener.address for listener in office.listeners]
        self._office = office
        self._workforce = workforce
        self._generations = generations
        self._upgrade = upgrade
        self._takeover = takeover
        self._notifier = notifier
        self._admin = admin
        self._title = Title(office.policy.proctitle)
        self._started_at = wall_time()
        self._control: ControlLine

    def open(self, control: ControlLine) -> None:
        """Called first thing inside the loop."""
        self._control = control

    def tell(self, now: float) -> None:
        """Say what is new. now: monotonic seconds."""
        office = self._office
        facts = facts_of(office, self._generations.reloading.reload, self._generations.reloading.last)
        self._notifier.tell(facts, now)
        self._title.label = office.policy.proctitle
        self._title.show(f"supervisor gen={facts.generation} {facts.state} workers={facts.serving}/{facts.wanted}")
        office.publish(self.summary)

    def close(self) -> None:
        self._notifier.close()
        self._title.restore()

    @property
    def state(self) -> str:
        return state_of(self._office, self._generations.reloading.reload)

    def summary(self) -> dict[str, Any]:
        """Return what the scoreboard holds of the server; see `summary`."""
        generations = self._generations
        known = Known(
            pid=os.getpid(),
            state=self.state,
            addresses=self.addresses,
            control=self._control.path,
            admin=self._admin.address if self._admin is not None else "",
            load=generations.sources.load.how,
            threads=generations.sources.load.threads,
            started_at=self._started_at,
            last_reload=generations.reloading.last,
            last_upgrade=self._upgrade.last,
            last_exits=self._workforce.accounts.last_exits,
        )
        return summary(
            self._office, known, self._takeover.accounts(living=False), wall_time() - self._office.system.monotonic()
        )
