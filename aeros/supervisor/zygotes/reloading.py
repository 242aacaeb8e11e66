"""The reload: from one generation to the next, or back."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from ...core.clock import show_duration, wall_time
from ...core.ipc.messages import MAX_REASON_CHARS, Loaded, LoadFailed, ProtocolError, ReloadOutcome, clip
from ...core.net.certificates import CertificateError
from ...errors import ReloadFailed
from ...status.records import Reloaded
from ..model.fleet import Worker
from ..model.lifecycle import ReloadState, WorkerState
from ..model.policy import Policy
from ..model.reconcile import rolled
from ..model.reload import REVERT_S, Reload, Waiter
from ..state.office import Office
from .ahead import Ahead
from .changes import Changes
from .links import ZygoteLink
from .load import WORKER, Load
from .loader import Loader, run_again
from .protocols import Slots, Telling
from .sources import Sources
from .zygotes import Zygotes

#: The first worker of a generation goes ahead alone for this long, so that a start that fails, fails once.
PILOT_S = 2.0
#: Beyond the workers' own boot timeout, which comes first because it can say where a worker hangs.
_ROLL_MARGIN_S = 5.0
#: A reload under way for longer than this, and than so many times the last good one, gives way to a newer request.
#: Others are finished first: a burst of requests costs two reloads, a stream of them cannot starve them all.
SUPERSEDE_AFTER_S = 1.0
SUPERSEDE_FACTOR = 3.0
#: Of the warnings of a new program; it has a handful to give.
_MOST_NOTES = 20
#: For a process that was asked for its stack, and then for its end.
_LAST_CALL_S = 2.0


class Reloading:
    """At most one reload is under way. Only code called from the supervisor's loop touches it."""

    def __init__(
        self, office: Office, sources: Sources, zygotes: Zygotes, on_founder_lost: Callable[[str], None]
    ) -> None:
        """on_founder_lost: told of a first program that cannot serve, with a sentence about why."""
        self._office = office
        self._log = office.log
        self._sources = sources
        self._zygotes = zygotes
        self._on_founder_lost = on_founder_lost
        #: How the workers of the next generation get the program, and what it asks for.
        self._candidate_load = sources.load
        self._candidate_policy = office.policy
        #: Where the next generation's program stood when it arrived, "" where nobody knows.
        self._directory = ""
        self._loader: Loader | None = None
        self._changes = Changes()
        self.ahead = Ahead(office)
        self._next = 2
        #: How long the last reload took that succeeded, in seconds.
        self._usual_s = 0.0
        self._telling: Telling
        self._slots: Slots
        self.reload = Reload()
        self.last: Reloaded | None = None
        self.counts = {"ok": 0, "failed": 0}

    def open(self, telling: Telling, slots: Slots) -> None:
        """Called first thing inside the loop."""
        self._telling, self._slots = telling, slots

    # --- what others need to know ----------------------------------------------------------------------------

    def is_for(self, generation: int) -> bool:
        """Whether a reload to `generation` is under way."""
        return not self.reload.idle and generation == self.reload.generation

    @property
    def loader_pid(self) -> int:
        """Return the pid of the program being run again, 0 if none is: it is reaped here and nowhere else."""
        return self._loader.pid if self._loader is not None else 0

    @property
    def deadline(self) -> float:
        """Return the next time at which something of the reload is overdue; 0.0 if nothing is."""
        return self.reload.deadline

    @property
    def overtaken_at(self) -> float:
        """Return when a newer request, which waits, may end the reload under way; 0.0 where that is not to come."""
        waits = self.reload.queued and not self.reload.idle and self._overtaken_at > self._office.system.monotonic()
        return self._overtaken_at if waits else 0.0

    @property
    def _overtaken_at(self) -> float:
        """Return when the reload under way will have taken so long that a newer request may end it."""
        return self.reload.started_at + max(SUPERSEDE_AFTER_S, SUPERSEDE_FACTOR * self._usual_s)

    # --- asked for -------------------------------------------------------------------------------------------

    def request(self, waiter: Waiter | None, timeout_s: float | None, why: str) -> None:
        """Ask for a reload. It begins at once, or after the one under way."""
        self._log.info(f"reload requested: {why}")
        self.reload.enqueue(waiter, timeout_s)
        self._office.poke()

    def files_changed(self, generation: int, teller: int, paths: list[str]) -> None:
        """Source files of that generation's program have changed on the disk, as process `teller` has seen. Raises
        ProtocolError where nobody is to look for that."""
        coming = self.reload.generation if not self.reload.idle else 0
        if generation not in (self._office.target.committed, coming):
            return
        if not self._office.policy.use_reloader:
            raise ProtocolError("it reports changed files, and is not to look for any")
        if any("site-packages" in path for path in paths):
            self.ahead.drop()  # it has imported what was there before
        if new := self._changes.new(teller, paths, self._office.system.monotonic()):
            names = ", ".join(os.path.basename(path) for path in new[:3])  # noqa: PTH119
            self.request(None, None, f"changed: {clip(names, MAX_REASON_CHARS)}")

    def advance(self) -> None:
        """Move the reload on as far as it goes now."""
        if self._office.target.stopping:
            return
        now, reload = self._office.system.monotonic(), self.reload
        self._supersede(now)
        if reload.state in (ReloadState.LOADING, ReloadState.ROLLING) and now >= reload.deadline:
            self._overdue(now)
        if reload.state is ReloadState.ROLLING and rolled(self._office.fleet, self._office.target, now):
            self._commit(now)
        if reload.state is ReloadState.REVERTING:
            self._see_reverted(now)
        if reload.idle and self._office.was_ready and self._office.policy.dev and self._office.command.waits:
            self.ahead.keep()
        # During an upgrade requests wait: its outcome decides whose they are.
        if reload.idle and reload.queued and self._office.was_ready and not self._office.upgrading:
            self._begin(now)

    # --- loading ---------------------------------------------------------------------------------------------

    def _begin(self, now: float) -> None:
        office = self._office
        limit = now + (self.reload.queued_timeout_s or float("inf"))
        deadline = min(limit, now + office.policy.boot_timeout_s)
        generation, how = self._next, "refork" if office.command.why_not else "rerun"
        self._next += 1
        self.reload.begin(generation, how, now, deadline, limit)
        if how == "refork":
            if office.target.committed in self._sources.forkable:
                self._zygotes.copy(self._sources.zygote_of(office.target.committed), generation)
            else:
                self.fail(f"the zygote is gone, and the program cannot be run again: {office.command.why_not}")
            return
        self._log.info(f"reloading: running the program again as generation {generation}")
        try:
            self._run_again(generation)
        except OSError as error:
            self.fail(f"cannot run the program again: {error}")

    def _run_again(self, generation: int) -> None:
        prepared = self.ahead.take(generation)
        self._loader, channel = prepared or run_again(self._office, generation, self._office.command)
        pid = self._loader.pid
        self._zygotes.add(ZygoteLink(generation, channel, pid, self._office.system.open_pidfd(pid)))

    def _supersede(self, now: float) -> None:
        """A newer request overtakes a reload that takes unusually long: it may hang, and the fix may be on disk."""
        reload = self.reload
        slow = reload.queued and now >= self._overtaken_at
        untouched = not any(slot.generation == reload.generation for slot in self._office.fleet.slots.values())
        if reload.state in (ReloadState.LOADING, ReloadState.ROLLING) and slow and untouched:
            # Who asked for it asked for the newest code, and gets the outcome of the one that has it.
            reload.queued_waiters = [*reload.take_waiters(), *reload.queued_waiters]
            self.fail("a newer request overtook it", logged=True, overtaken=True)

    def _overdue(self, now: float) -> None:
        took = show_duration(now - self.reload.started_at)
        if self.reload.last_call:
            self.fail(f"not ready {took} after the reload began")
            return
        # First ask where it hangs; the exits that follow end the reload, with the stacks as its traceback.
        self.reload.last_call = True
        self.reload.deadline = now + _LAST_CALL_S
        starting = [worker for worker in self._of_candidate() if worker.state is WorkerState.STARTING]
        if self._loader is not None:
            self._log.error(f"the new program has not reached start() after {took}; it is ended, its stack follows")
            self._loader.abort(f"it had not reached start() after {took}")
        for worker in starting:
            self._telling.kill(worker, f"not ready {took} after the reload began", dump=True)
        if self._loader is None and not starting:
            self.fail(f"not ready {took} after the reload began")

    def _of_candidate(self) -> list[Worker]:
        return self._office.fleet.of_generation(self.reload.generation)

    # --- rolling ---------------------------------------------------------------------------------------------

    def loaded(self, zygote: ZygoteLink, message: Loaded) -> None:
        """A zygote can fork: the reload goes on, if it is what that has waited for."""
        if self.reload.state is ReloadState.LOADING and zygote.generation == self.reload.generation:
            self._begin_rolling(zygote, message)
        elif self._is_first(zygote):
            self._first_loaded(zygote, message)

    def load_failed(self, zygote: ZygoteLink, message: LoadFailed) -> None:
        """A program says that it cannot be loaded. Raises ProtocolError where nobody had asked it to load."""
        reason = clip(message.reason, MAX_REASON_CHARS)
        if self._is_first(zygote) and not zygote.loaded:
            self._on_founder_lost(reason)
        elif zygote.loaded or zygote.generation != self.reload.generation:
            raise ProtocolError("it says that it cannot be loaded, and nobody had asked it to load")
        else:
            self.fail(reason, clip(message.traceback))

    def _is_first(self, zygote: ZygoteLink) -> bool:
        """Whether it is the program of `aeros run`, on its way to be the first zygote."""
        return zygote.arrived and not self._office.was_ready and zygote.generation == self._office.target.committed

    def _first_loaded(self, zygote: ZygoteLink, message: Loaded) -> None:
        """The program of `aeros run`, which a child of ours has loaded, says how its workers get it."""
        office, load = self._office, Load.from_message(message.load, message.threads)
        self._sources.load = load
        for note in message.notes[:_MOST_NOTES]:
            self._log.warning(clip(note, MAX_REASON_CHARS))
        if load.how == WORKER and office.command.why_not:
            self._on_founder_lost(f"no worker can load the app itself: {office.command.why_not}")
        elif load.how == WORKER:
            self._sources.launch(zygote)

    def _begin_rolling(self, zygote: ZygoteLink, message: Loaded) -> None:
        now, office, generation = self._office.system.monotonic(), self._office, zygote.generation
        if self._loader is not None:
            self._loader.succeeded()
            self._loader = None
        self.reload.on("loaded")
        load = Load.from_message(message.load, message.threads)
        if load.how == WORKER and office.command.why_not:
            raise ProtocolError("its workers cannot load the program, which cannot be run again")
        rounds = office.target.rounds if load.how == WORKER else 1
        self.reload.deadline = min(self.reload.limit, now + rounds * office.policy.boot_timeout_s + _ROLL_MARGIN_S)
        if (why := self._take_policy(generation, message)) is not None:
            self.fail(why)
            return
        for note in message.notes[:_MOST_NOTES]:
            self._log.warning(clip(note, MAX_REASON_CHARS))
        self._candidate_load, self._directory = load, zygote.directory
        if load.how == WORKER:
            self._sources.launch(zygote)
        for slot in office.fleet.slots.values():
            self._slots.heal(slot)
        office.target.candidate = generation
        office.target.surge = self._candidate_policy.reload_surge
        office.target.pilot_until = now + PILOT_S

    def _take_policy(self, generation: int, message: Loaded) -> str | None:
        """Take what a new program asks for; return why that cannot be, None if it can."""
        try:
            asked = Policy.from_message(message.policy)
            foreign = self._office.command.account is not None
            self._candidate_policy = asked.allowed(self._office.policy) if foreign else asked
            self._office.take_certificates(generation, self._candidate_policy)
        except (TypeError, KeyError, AttributeError) as error:
            return f"the new program has another version of Aeros; restart the server to change it ({error})"
        except ValueError as error:
            return f"the new program asks for what cannot be: {error}"
        except (CertificateError, ReloadFailed, OSError) as error:
            return str(error)
        return None

    def _commit(self, now: float) -> None:
        office = self._office
        old, new = office.target.committed, self.reload.generation
        self.reload.on("commit")
        self._changes = Changes()  # who told of the old one's is heard no more, and the next save may be soon
        office.fleet.settle_on(office.target, new)
        before, office.policy = office.policy, self._candidate_policy
        self._sources.load = self._candidate_load
        self._sources.nurseries.pop(old, None)
        wanted = office.policy.workers
        if wanted not in (before.workers, office.target.workers):
            # What was scaled by hand stays, unless the program itself now says something new.
            self._log.info(f"the new program asks for {wanted} workers instead of {office.target.workers}")
            office.target.workers = wanted
            office.fleet.set_slots(office.target)
        for zygote in self._sources.of_generation(old):
            self._zygotes.retire(zygote)
        self.counts["ok"] += 1
        self._usual_s = now - self.reload.started_at
        seconds, why_same = round(now - self.reload.started_at, 3), office.command.why_not
        record = Reloaded(True, new, self.reload.how, seconds, wall_time(), why_same)
        same = f" (the same code: {why_same})" if why_same else ""
        place = f" from {self._directory}" if self._directory else ""
        self._log.info(f"reloaded: generation {new} serves after {show_duration(record.seconds)}{place}{same}")
        self._finish(record)

    # --- reverting -------------------------------------------------------------------------------------------

    def fail(self, reason: str, traceback: str = "", *, logged: bool = False, overtaken: bool = False) -> None:
        """The new generation is not coming: put everything back, and tell who asked when that is done.

        logged: the log has the traceback already, from the program itself. overtaken: by a newer request, so it is
        no failure.
        """
        if self.reload.state not in (ReloadState.LOADING, ReloadState.ROLLING) or self._office.target.stopping:
            return
        office, now, new = self._office, self._office.system.monotonic(), self.reload.generation
        self.reload.on("fail")
        self.reload.deadline = now + REVERT_S + _LAST_CALL_S
        office.fleet.settle_on(office.target, office.target.committed)
        office.target.surge = office.policy.reload_surge
        self._drop_loader()
        self._sources.nurseries.pop(new, None)
        for zygote in self._sources.of_generation(new):
            self._zygotes.retire(zygote)
        self.counts["failed"] += not overtaken
        seconds = round(now - self.reload.started_at, 3)
        refusal = Reloaded(False, new, self.reload.how, seconds, wall_time(), reason, traceback)
        self.reload.failure = None if overtaken else refusal
        outcome = "given up" if overtaken else f"refused, generation {office.target.committed} goes on serving"
        facts = {"generation": new, "reason": reason, "traceback": "" if logged else traceback}
        self._log.write("info" if overtaken else "error", f"reload {outcome}: {reason}", facts)
        office.poke()

    def _see_reverted(self, now: float) -> None:
        reload = self.reload
        over = not self._leftovers()
        if not over and now >= reload.deadline:
            for zygote in self._sources.of_generation(reload.generation):
                self._zygotes.kill(zygote)
            over = self._left_to_serve()
        if over:
            reload.on("reverted")
            self._finish(reload.failure)

    def _leftovers(self) -> bool:
        """Whether anything of the generation that was given up still exists."""
        generation = self.reload.generation
        if self._loader is not None or self._sources.of_generation(generation):
            return True
        return bool(self._office.fleet.of_generation(generation))

    def _left_to_serve(self) -> bool:
        """Whether the old generation, which has lost its zygote too or does not start any more, cannot take the slots
        back: what is left of the new one is all that serves there. It stays, and must not keep a later reload from
        beginning."""
        return self._loader is None and all(worker.serving for worker in self._of_candidate())

    # --- over ------------------------------------------------------------------------------------------------

    def _finish(self, record: Reloaded | None) -> None:
        self.last = record or self.last
        self.reload.deadline = 0.0
        committed = self._office.target.committed
        if record is not None and committed in self._sources.forkable:
            outcome = ReloadOutcome(record.ok, record.generation, record.reason, record.traceback, record.seconds)
            in_nursery = committed in self._sources.nurseries
            if in_nursery or self._office.policy.dev:
                self._telling.outcome(outcome)
            if not in_nursery:
                self._office.tell(self._sources.zygote_of(committed).channel, outcome)
        self._office.answers += [partial(waiter, record) for waiter in self.reload.take_waiters()]
        self._office.poke()

    def stop(self) -> None:
        """The server is stopping: no reload will happen."""
        self._sources.nurseries.clear()
        self.ahead.drop()
        self._office.answers += [partial(waiter, None) for waiter in self.reload.abandon()]
        self._drop_loader()

    def _drop_loader(self) -> None:
        """End a program that has not come as far as start()."""
        if self._loader is not None:
            for zygote in self._sources.of_generation(self._loader.generation):
                zygote.retired = True
            self._loader.kill()

    def reap(self) -> None:
        """Reap the program being run again, if it has ended."""
        self.ahead.reap()
        loader = self._loader
        status = loader.reap() if loader is not None else None
        if loader is None or status is None:
            return
        self._loader = None
        reason, said, logged = loader.explain(status)
        for zygote in self._sources.of_generation(loader.generation):
            zygote.retired = True
            self._zygotes.gone(zygote)
        if self.reload.generation == loader.generation:
            self.fail(reason, said, logged=logged)
