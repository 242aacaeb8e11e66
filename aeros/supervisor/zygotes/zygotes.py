"""The zygotes that the supervisor has: a spare for each, the stuck ones ended, a lost one replaced."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable

from ...core.clock import show_duration
from ...core.ipc.messages import ForkZygote, RetireZygote
from ..state.office import Office
from .links import ZYGOTE_BOUNDS, ZygoteLink
from .protocols import Reloads, Reports
from .sources import Sources

#: A zygote that does not answer an order to fork within this time is stuck, and replaced.
_FORK_TIMEOUT_S = 10.0
#: Time for the hooks that run at the end of its last worker.
_END_TIMEOUT_S = 30.0
#: A spare zygote that could not be made, or did not live to be one, is tried again after this time.
SPARE_RETRY_S = 5.0
#: A generation without any zygote asks for a reload again after the first time, then after twice as long, and so on.
RESCUE_FIRST_S = 1.0
RESCUE_LONGEST_S = 60.0
#: Beyond the time of the program's exit handlers.
_LAST_CALL_S = 2.0


class Zygotes:
    """on_founder_lost: told when the first one dies before the server was ever ready."""

    def __init__(self, office: Office, sources: Sources, on_founder_lost: Callable[[str], None]) -> None:
        self._office = office
        self._log = office.log
        self._sources = sources
        self._on_founder_lost = on_founder_lost
        self._end_deadline = 0.0
        self._spare_not_before = 0.0
        #: When to try again to bring up a zygote for the generation that has lost all of its own, and how often it
        #: was tried.
        self._rescue_at = 0.0
        self._rescues = 0
        self._reports: Reports
        self._reloads: Reloads
        self._listen: Callable[[ZygoteLink], None]

    def open(self, reports: Reports, reloads: Reloads, listen: Callable[[ZygoteLink], None]) -> None:
        """Called first thing inside the loop. listen: has a new one listened to."""
        self._reports, self._reloads, self._listen = reports, reloads, listen

    @property
    def deadline(self) -> float:
        """Return the next time at which something here is overdue; 0.0 if nothing is."""
        return self._end_deadline or self._rescue_at

    # --- made ------------------------------------------------------------------------------------------------

    def add(self, zygote: ZygoteLink) -> None:
        """There is a new one, or will be."""
        self._sources.zygotes.append(zygote)
        self._listen(zygote)

    def copy(self, parent: ZygoteLink, generation: int) -> None:
        """Have `parent` make a copy of itself: a spare, or the next generation."""
        try:
            channel, theirs = self._office.system.channel_pair("a zygote", ZYGOTE_BOUNDS)
            with theirs:
                self._office.tell(parent.channel, ForkZygote(generation), [theirs.fileno()])
        except OSError as error:
            self.no_copy(generation, f"{type(error).__name__}: {error}")
            return
        zygote = ZygoteLink(generation, channel, spare=generation == self._office.target.committed)
        parent.copies.append(zygote)
        self.add(zygote)

    def no_copy(self, generation: int, reason: str) -> None:
        """A copy of a zygote could not be made: the system refused."""
        if self._reloads.is_for(generation):
            self._reloads.fail(f"no zygote could be made for it: {reason}")
        else:
            self._spare_not_before = self._office.system.monotonic() + SPARE_RETRY_S
            again = show_duration(SPARE_RETRY_S)
            self._log.warning(f"no spare zygote could be made: {reason}; next attempt in {again}")

    def drop_copy(self, copy: ZygoteLink) -> None:
        """The copy does not exist, or nobody can say who it is: then it finds its channel closed, and ends."""
        if copy in self._sources.zygotes and not copy.pid:
            copy.retired = copy.retired or copy.spare
            self.gone(copy)

    # --- ended -----------------------------------------------------------------------------------------------

    def retire(self, zygote: ZygoteLink) -> None:
        """Tell it to end when its last worker has."""
        if not zygote.retired:
            zygote.retired = True
            self._office.tell(zygote.channel, RetireZygote())

    def kill(self, zygote: ZygoteLink) -> None:
        zygote.signal(self._office.system, signal.SIGKILL)
        self.gone(zygote)

    def end_stuck(self, zygote: ZygoteLink, what: str) -> None:
        """Kill a zygote that does not answer, if it is still there. what: it does not do, for the log."""
        if zygote in self._sources.zygotes:
            self._log.error(f"{zygote.name} {what}; it is killed")
            self.kill(zygote)

    def gone(self, zygote: ZygoteLink) -> None:
        """End-of-file: the process has ended or closed its channel; either way it forks no more."""
        if zygote not in self._sources.zygotes:
            return
        self._sources.zygotes.remove(zygote)
        self._office.forget(zygote.channel)
        zygote.close()
        for copy in zygote.copies:
            self.drop_copy(copy)
        for ident in list(zygote.unanswered):
            self._reports.zygote_lost(ident)
        if not zygote.retired and not self._office.target.stopping:
            self._missed(zygote)
        self._office.poke()

    def _missed(self, zygote: ZygoteLink) -> None:
        """Nobody had told it to end."""
        if not zygote.loaded and zygote.spare and zygote.generation in self._sources.forkable:
            # It never was one; whoever could not make it has said why, and is still there.
            self._spare_not_before = self._office.system.monotonic() + SPARE_RETRY_S
        elif self._reloads.is_for(zygote.generation):
            if not self._reloads.loader_pid:
                self._reloads.fail(f"{zygote.name} died")
            # else: how the program ended explains it better, and is on its way
        else:
            self._replace(zygote)

    def _replace(self, lost: ZygoteLink) -> None:
        office = self._office
        if any(not zygote.retired for zygote in self._sources.of_generation(lost.generation)):
            self._log.warning(f"{lost.name} died; its spare takes over")
        elif not office.was_ready:
            self._on_founder_lost(f"{lost.name} died")
        elif lost.generation != office.target.committed:
            pass
        elif office.command.why_not:
            self._log.critical(
                f"{lost.name} died and cannot be replaced ({office.command.why_not}): workers that die from now on "
                "stay dead; restart the server"
            )
        else:
            self._reloads.request(None, None, f"{lost.name} died and no spare was left")

    def reap(self, on_ended: Callable[[ZygoteLink], None]) -> None:
        """Reap those that are our own children. on_ended: told of each, to hear its last words."""
        for zygote in list(self._sources.zygotes):
            if zygote.pid and zygote.pid != self._reloads.loader_pid:
                with contextlib.suppress(ChildProcessError):
                    if self._office.system.reap(zygote.pid) is not None:
                        # What it started while it loaded the app may hold its end of the line open still.
                        zygote.reaped = True
                        on_ended(zygote)
                        self.gone(zygote)

    # --- looked after ----------------------------------------------------------------------------------------

    def check(self, now: float) -> None:
        """Stuck zygotes are killed, the serving generation gets a spare, at the end all are let go."""
        for zygote in list(self._sources.zygotes):
            if zygote.unanswered and now - min(zygote.unanswered.values()) > _FORK_TIMEOUT_S:
                self.end_stuck(zygote, f"has not forked for {_FORK_TIMEOUT_S:.0f} s")
            elif zygote.retired:
                self._see_it_end(zygote, now)
        if self._office.target.stopping:
            self._end_all(now)
        elif self._office.was_ready and self._reloads.reload.idle:
            self._keep_spare(now)
            self._rescue(now)

    def _see_it_end(self, zygote: ZygoteLink, now: float) -> None:
        """A zygote that was told to end does so once its last worker has. Each reload would leave one that does not."""
        if self._reports.has_workers_of(zygote):
            return
        zygote.done_at = zygote.done_at or now
        if now - zygote.done_at > _END_TIMEOUT_S:
            self.end_stuck(zygote, f"has not ended {_END_TIMEOUT_S:.0f} s after its last worker")

    def _keep_spare(self, now: float) -> None:
        """One zygote forks, one stands by: the death of either costs nothing."""
        generation = self._office.target.committed
        own = [zygote for zygote in self._sources.of_generation(generation) if not zygote.retired]
        if len(own) == 1 and own[0].loaded and now >= self._spare_not_before:
            self.copy(own[0], generation)

    def _rescue(self, now: float) -> None:
        """A generation without a zygote cannot replace a worker. The reload that was to change that has been refused,
        so another one is tried, ever less often: the code on disk may be mended, or what was short be there again."""
        if self._office.target.committed in self._sources.forkable or self._office.command.why_not:
            self._rescue_at, self._rescues = 0.0, 0
        elif not self._rescue_at:
            self._rescue_at = now + min(RESCUE_LONGEST_S, RESCUE_FIRST_S * 2.0**self._rescues)
        elif now >= self._rescue_at:
            self._rescue_at, self._rescues = 0.0, self._rescues + 1
            self._reloads.request(None, None, "no zygote is left to fork workers")

    def stop(self) -> None:
        """The server is stopping: they end when their last worker has."""
        for zygote in self._sources.zygotes:
            self.retire(zygote)

    def _end_all(self, now: float) -> None:
        if self._office.fleet.workers or not self._sources.zygotes:
            return
        if not self._end_deadline:
            # The program's exit handlers run in the zygote that loaded it, bounded by the shutdown timeout.
            self._end_deadline = now + self._office.policy.shutdown_timeout_s + _LAST_CALL_S
        elif now >= self._end_deadline:
            for zygote in list(self._sources.zygotes):
                self.kill(zygote)
