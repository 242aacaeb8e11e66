"""Slots that have lost their worker: when each is filled again."""

from __future__ import annotations

from ...core.clock import show_duration
from ..model.backoff import HEAL_AFTER_S, FailureRate, delay_before_respawn
from ..model.fleet import Slot
from ..model.lifecycle import SlotState
from ..state.office import Office

#: A worker that the system refused (EAGAIN, EMFILE, ENOMEM) is ordered again after this time.
REFUSED_RETRY_S = 1.0


class Slots:
    """One per supervisor."""

    def __init__(self, office: Office) -> None:
        self._office = office

    def failed(self, slot: Slot, what: str, traceback: str = "", weight: float = 1.0) -> None:
        """Count a failure of the slot, and say when it will be filled again. weight: see `backoff.weight_of`."""
        now = self._office.system.monotonic()
        slot.failures = slot.failures.failed(now, weight)
        slot.restarts += 1
        delay = delay_before_respawn(slot.failures, now)
        level = "warning"
        if delay is None:
            slot.on("give_up")
            slot.retry_at = now + HEAL_AFTER_S
            then = f"given up after repeated failures; next attempt in {show_duration(HEAL_AFTER_S)} or on reload"
            level = "error"
        elif any(worker.fresh for worker in self._office.fleet.in_slot(slot.index)):
            then = "its replacement is there already"
        else:
            slot.on("failure")
            slot.retry_at = now + delay
            then = f"replaced in {show_duration(delay)}" if delay else "replaced at once"
        facts = {"worker": slot.index, "state": slot.state.value, "restarts": slot.restarts, "traceback": traceback}
        self._office.log.write(level, f"{what}; {then}", facts)

    def refused(self, slot: Slot, what: str) -> None:
        """The system had no process or descriptor for it. That says nothing about the app, so it is not counted; the
        shortage may be over any moment."""
        slot.on("failure")
        slot.retry_at = self._office.system.monotonic() + REFUSED_RETRY_S
        facts = {"worker": slot.index, "state": slot.state.value, "restarts": slot.restarts}
        self._office.log.write("warning", f"{what}; next attempt in {show_duration(REFUSED_RETRY_S)}", facts)

    def heal(self, slot: Slot) -> None:
        """Forgive the slot's failures: new code, or somebody's explicit wish."""
        slot.failures = FailureRate()
        slot.retry_at = 0.0
        if slot.state in (SlotState.BACKOFF, SlotState.FAILED):
            slot.on("heal")
