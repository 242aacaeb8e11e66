"""A supervisor that takes over from another, or is succeeded by one: what that changes of this one."""

from __future__ import annotations

from ..status.records import Upgraded
from .control.socket import ControlLine
from .control.systemd import Notifier
from .model.totals import Accounts
from .readiness import Readiness
from .state.office import Office
from .upgrade.running import Upgrade
from .verbs import Verbs
from .workers.workforce import Workforce
from .zygotes.generations import Generations


class Takeover:
    """Implements `successor.Heir`, and what `Upgrade` calls back."""

    def __init__(
        self,
        office: Office,
        workforce: Workforce,
        generations: Generations,
        notifier: Notifier,
        readiness: Readiness,
        control_where: str,
    ) -> None:
        """control_where: where the control socket is to be."""
        self.office = office
        self._workforce = workforce
        self._generations = generations
        self._notifier = notifier
        self._readiness = readiness
        self._where = control_where
        self._inherited = Accounts()
        self._control: ControlLine
        self._verbs: Verbs
        self._upgrade: Upgrade

    def open(self, control: ControlLine, verbs: Verbs, upgrade: Upgrade) -> None:
        """Called first thing inside the loop."""
        self._control, self._verbs, self._upgrade = control, verbs, upgrade

    def accounts(self, *, living: bool) -> Accounts:
        """Return all that was counted here and before us. living: by workers that have not ended, too."""
        counted, slots = self._workforce.accounts, self.office.fleet.slots.values()
        own = Accounts(
            counted.counted(living=living),
            counted.exits,
            self._generations.reloading.counts,
            {slot.index: [*counted.requests_of(slot.index, living=living), slot.restarts] for slot in slots},
        )
        return self._inherited.plus(own)

    # --- this one takes over; see `successor.Heir` --------------------------------------------------------------

    def admit(self) -> None:
        """The old supervisor has given leave."""
        # Before the workers accept: who hears that they do may ask us at once.
        self._control.open(self._where, succeeding=True)
        self.office.target.hold = False
        self.office.poke()

    def settle(self, accounts: Accounts, record: Upgraded | None, reload: bool) -> None:
        """This supervisor is the server now."""
        self._notifier.muted = False
        self._inherited = accounts
        self._upgrade.last = record
        self._readiness.settle()
        if reload:
            self._generations.reloading.request(None, None, "asked for during the upgrade")
        self.office.poke()

    def inherit(self, accounts: Accounts) -> None:
        """The old supervisor has counted more."""
        self._inherited = accounts
        self.office.poke()

    def stop(self, how: str, why: str) -> None:
        """The upgrade is off."""
        self._verbs.stop(how, why)

    # --- this one is succeeded; see `Upgrade` -------------------------------------------------------------------

    def upgrade_failed(self) -> None:
        """The new supervisor was to take over, and did not: it may have put its control socket in the place of ours."""
        if not self.office.target.stopping:
            self._control.resume(self._where)

    def upgraded(self, record: Upgraded) -> bool:
        """The new supervisor is the server: end as at a reload, since whoever is told to go meets a server again.
        Return whether a reload was asked for meanwhile."""
        queued = self._generations.reloading.reload.queued
        self._control.retire()
        self.office.target.upgraded = True
        self._verbs.stop("graceful", f"upgraded to pid {record.pid}")
        return queued
