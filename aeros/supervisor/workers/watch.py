"""Workers looked at from outside: whether each one's loop turns, how old it is, and how much memory it has."""

from __future__ import annotations

from ...core.clock import show_duration
from ...status.usage import rss_bytes
from ..model.fleet import Worker
from ..model.lifecycle import WorkerState
from ..state.office import Office
from .links import WorkerLink
from .loopwatch import LoopWatch
from .names import facts_of, name_of
from .telling import Telling

#: A supervisor that was itself held up longer than this trusts no heartbeat it has not seen since.
_OWN_GAP_S = 1.5
#: How often memory is looked at, when --max-rss is set.
_RSS_EVERY_S = 1.0


class Watch:
    """links: the lines to all workers."""

    def __init__(self, office: Office, links: dict[int, WorkerLink], telling: Telling) -> None:
        self._office = office
        self._links = links
        self._telling = telling
        self._loops = LoopWatch(office, links.get)
        self._last_tick = office.system.monotonic()
        self._heartbeat_floor = 0.0
        self._next_rss = 0.0
        self._rss_warned = False

    def tick(self, now: float) -> None:
        """Read the heartbeats, look at ages and sizes. now: monotonic seconds."""
        policy = self._office.policy
        if now - self._last_tick > min(_OWN_GAP_S, max(1.1, policy.worker_timeout_s / 2)):
            # We were stopped, or the machine slept: others may have been as well. Everybody gets a full timeout.
            self._heartbeat_floor = now
        self._last_tick = now
        measure = policy.max_rss_bytes is not None and now >= self._next_rss
        if measure:
            self._next_rss = now + _RSS_EVERY_S
        for worker in self._office.fleet.workers.values():
            if worker.state is not WorkerState.READY:
                continue
            # Its own file, not its cell, which other workers could write.
            beat = self._links[worker.ident].heartbeat(now)
            worker.heartbeat_at = max(beat, self._heartbeat_floor, worker.ready_at)
            self._loops.look(worker, now)
            if worker.recycle:
                continue
            if policy.max_lifetime_s and now - worker.ready_at > self._lifetime_of(worker):
                self._telling.recycle(worker, f"older than {show_duration(policy.max_lifetime_s)}")
            elif measure and policy.max_rss_bytes and (rss := rss_bytes(worker.pid)) > policy.max_rss_bytes:
                self._too_big(worker, rss, policy.max_rss_bytes)

    def _too_big(self, worker: Worker, rss: int, limit: int) -> None:
        uses = f"uses {rss / 2**20:.0f} MiB, more than {limit / 2**20:.0f} MiB"
        if worker.ready_rss_bytes <= limit:
            self._telling.recycle(worker, uses)
        elif not self._rss_warned:
            # Replacing it would only bring one more like it, and so on for ever.
            self._rss_warned = True
            self._office.log.warning(
                f"{name_of(worker)} {uses} and did so from its start: --max-rss is too low", **facts_of(worker)
            )

    def _lifetime_of(self, worker: Worker) -> float:
        # Spread by up to a tenth, by slot, so that workers born together do not age out together.
        workers = max(1, self._office.target.workers)
        return (self._office.policy.max_lifetime_s or 0.0) * (1.0 + 0.1 * worker.slot / workers)
