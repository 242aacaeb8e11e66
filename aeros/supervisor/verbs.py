"""What may be asked of a server, by a command or a signal: each checks whether it can be, and begins it.

What follows is the loop's: a verb changes the target, or asks the part that it is about.
"""

from __future__ import annotations

import contextlib

from ..core.clock import show_duration
from ..core.ipc.messages import MISBEHAVIOURS
from ..core.process.files import make_logs
from ..core.shared.scoreboard import MAX_WORKERS
from ..errors import OptionsError, StateError
from .control.socket import Reply
from .model.reload import Waiter
from .state.office import Office
from .upgrade.running import Upgrade
from .upgrade.running import Waiter as UpgradeWaiter
from .workers.forced import tell_forced
from .workers.workforce import Workforce
from .zygotes.generations import Generations

#: Of one profile.
LONGEST_PROFILE_S = 600.0


class Verbs:
    """Raise OptionsError for what makes no sense, StateError for what cannot be now."""

    def __init__(self, office: Office, workforce: Workforce, generations: Generations, upgrade: Upgrade) -> None:
        self._office = office
        self._workforce = workforce
        self._generations = generations
        self._upgrade = upgrade
        #: A stop has become one without waiting, and its stacks are being told.
        self._forcing = False

    def stop(self, how: str, why: str, *, delayed: bool = False) -> None:
        """Begin to end: "graceful" or "now". A stronger request overrides a weaker one, the same is ignored.

        delayed: accept for the drain delay first, if there is one; being asked a second time cuts that short.
        """
        office = self._office
        if office.target.stopping in (how, "now"):
            return
        delay_s = office.policy.drain_delay_s
        if delayed and how == "graceful" and delay_s and office.was_ready and not office.target.last_call_until:
            self._last_call(delay_s, why)
            return
        first = not office.target.stopping
        if first:
            office.target.stopping = how
        elif self._forcing:
            return
        if not office.target.upgraded or how == "now":
            office.log.info(f"stopping{' now' if how == 'now' else ''}: {why}")
        if first:
            # Refused from the moment the last worker has taken what the kernel had queued.
            for listener in office.listeners:
                listener.sock.close()
            self._generations.stop()
        else:
            self._forcing = True
            tell_forced(office, self._workforce.links, self._stop_now)
        self._upgrade.stop(how)
        office.poke()

    def _stop_now(self) -> None:
        """What is cut by it has been told."""
        self._office.target.stopping = "now"
        self._office.poke()

    def _last_call(self, delay_s: float, why: str) -> None:
        """Not ready any more, for whoever asks; but a balancer that has not asked yet goes on being served."""
        office = self._office
        office.target.last_call_until = office.system.monotonic() + delay_s
        self._workforce.telling.last_call()
        office.log.info(f"stopping: {why}; accepting connections for {show_duration(delay_s)} more (--drain-delay)")
        self._upgrade.stop("graceful")
        office.poke()

    def reload(self, waiter: Waiter | None, timeout_s: float | None, why: str) -> None:
        """Ask for a new generation."""
        self._refuse_when_stopping()
        self._generations.reloading.request(waiter, timeout_s, why)

    def upgrade(
        self, waiter: UpgradeWaiter | None, timeout_s: float | None, why: str, others: list[str] | None = None
    ) -> None:
        """Start the supervisor that is to succeed this one. others: arguments for its program, instead of those this
        one was started with. Raises UpgradeFailed as well."""
        self._refuse_when_stopping()
        self._upgrade.request(waiter, timeout_s, why, not self._generations.reloading.reload.idle, others)

    def scale(self, workers: int) -> None:
        """Change the number of workers."""
        self._refuse_when_stopping()
        office = self._office
        if not 1 <= workers <= MAX_WORKERS:
            raise OptionsError(f"workers must be from 1 to {MAX_WORKERS}, not {workers}")
        if workers != office.target.workers:
            office.log.info(f"scaling from {office.target.workers} to {workers} workers")
            office.target.workers = workers
            office.fleet.set_slots(office.target)
        office.poke()

    def scale_by(self, more: int) -> None:
        """Change the number of workers by so many."""
        self.scale(self._office.target.workers + more)

    def restart(self, slot: int | None) -> list[int]:
        """Replace the worker of `slot`, or all, one at a time, replacements first. Returns the slots."""
        self._refuse_when_stopping()
        fleet, workers = self._office.fleet, self._office.target.workers
        if slot is not None and not 0 <= slot < workers:
            raise OptionsError(f"there is no slot {slot}; slots are 0 to {workers - 1}")
        chosen = [slot] if slot is not None else list(range(workers))
        for index in chosen:
            self._workforce.slots.heal(fleet.slots[index])
            for worker in fleet.in_slot(index):
                if worker.alive and not worker.recycle:
                    self._workforce.telling.recycle(worker, "restart")
        self._office.poke()
        return chosen

    def debug(self, slot: int, how: str, seconds: float | None) -> None:
        """Have the worker of `slot` fail on purpose. Needs --debug-faults and a worker that serves."""
        if not self._office.policy.debug_faults:
            raise StateError("aeros debug needs a server that was started with --debug-faults")
        if how not in MISBEHAVIOURS:
            raise OptionsError(f"a worker can be told to {', '.join(MISBEHAVIOURS)}, not {how[:80]!r}")
        worker = next((worker for worker in self._office.fleet.in_slot(slot) if worker.serving), None)
        if worker is None:
            raise StateError(f"slot {slot} has no worker that serves")
        self._workforce.telling.spoil(worker, how, seconds or 1.0)

    def stack(self, slot: int, reply: Reply) -> None:
        """Answer with where the worker of `slot` is; see `stacks`."""
        if slot not in self._office.fleet.slots:
            raise OptionsError(f"there is no slot {slot}; slots are 0 to {self._office.target.workers - 1}")
        self._workforce.telling.stacks(slot, reply)

    def profile(self, slot: int, seconds: float | None, reply: Reply) -> None:
        """Answer with where the worker of `slot` spends its time; see `profiles`."""
        if slot not in self._office.fleet.slots:
            raise OptionsError(f"there is no slot {slot}; slots are 0 to {self._office.target.workers - 1}")
        if seconds is None or seconds > LONGEST_PROFILE_S:
            raise OptionsError(f"a profile takes at most {LONGEST_PROFILE_S:.0f} seconds")
        self._workforce.telling.profile(slot, seconds, reply)

    def reopen_logs(self) -> None:
        """Open the log files by name again, in the whole family."""
        log, account = self._office.log, self._office.command.account
        kept = []
        for path in self._office.policy.log_files:
            try:
                # Before anybody else opens them: the app's user may not be allowed to make files there.
                make_logs([path], account)
            except OSError as error:
                log.error(f"cannot reopen the log {path}: {error.strerror}; the old file is kept")
                kept.append(path)
        with contextlib.suppress(OSError):  # it has just been opened
            log.reopen(kept)
        self._workforce.telling.reopen_logs(kept)
        self._generations.sources.reopen_logs(kept)
        log.info("log files reopened")

    def _refuse_when_stopping(self) -> None:
        if self._office.target.stopping or self._office.target.last_call_until:
            raise StateError("the server is stopping")
