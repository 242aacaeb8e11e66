"""Event loops that stand still: each standstill is logged once, with the stacks and the request, and goes on."""

from __future__ import annotations

from collections.abc import Callable

from ...core.clock import show_duration
from ...core.shared.scoreboard import heartbeat_every_s
from ..model.fleet import Worker
from ..state.office import Office
from .links import WorkerLink
from .names import facts_of, name_of
from .stacks import Stacks, as_text, take_stacks

#: So many of the requests in flight are named, the oldest, when it is not known which of them has the loop.
_MOST_NAMED = 5


class LoopWatch:
    """For `--loop-warn`. Looked at from outside, since a loop that is blocked can say nothing."""

    def __init__(self, office: Office, link_of: Callable[[int], WorkerLink | None]) -> None:
        self._office = office
        self._link_of = link_of

    def look(self, worker: Worker, now: float) -> None:
        """Compare the heartbeat of a ready worker with the limit."""
        limit_s, link = self._office.policy.loop_warn_s, self._link_of(worker.ident)
        if link is None:
            return
        if link.stopped_at is not None and worker.heartbeat_at > link.stopped_at:
            stood_s = worker.heartbeat_at - link.stopped_at
            link.stopped_at = None
            self._office.log.info(
                f"{name_of(worker)}: its event loop turns again, after about {show_duration(stood_s)}"
            )
        elif link.stopped_at is None and limit_s and now - worker.heartbeat_at > limit_s + heartbeat_every_s(limit_s):
            link.stopped_at = worker.heartbeat_at
            take_stacks(
                self._office.loop, self._office.system, worker, link, lambda stacks: self._say(worker, now, stacks)
            )

    def _say(self, worker: Worker, since: float, stacks: Stacks) -> None:
        stood_s = since - worker.heartbeat_at
        running = stacks["running"]
        if running:
            what = f"it runs {running}"
        else:
            rows = self._office.scoreboard.cell(worker.cell).read_requests()[:_MOST_NAMED]
            named = ", ".join(f"{row.method} {row.path} ({since - row.began:.1f} s)" for row in rows)
            what = f"in flight: {named}" if named else "no request is in flight"
        self._office.log.warning(
            f"{name_of(worker)}: its event loop has stood still for {show_duration(stood_s)}; {what}",
            traceback=as_text(stacks),
            **facts_of(worker),
        )
