"""Generations: the zygotes that fork their workers, and the reload that leads from one to the next."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from ...core.clock import monotonic, show_duration, wall_time
from ...core.ipc.channel import ChannelClosed, channel_pair, close_fds
from ...core.ipc.messages import (
    MAX_REASON_CHARS,
    Arrived,
    Exited,
    FilesChanged,
    Forked,
    ForkFailed,
    ForkZygote,
    Loaded,
    LoadFailed,
    Logged,
    Message,
    ProtocolError,
    ReloadOutcome,
    ReopenLogs,
    RetireZygote,
    ZygoteForked,
    ZygoteForkFailed,
    clip,
)
from ...core.net.certificates import CertificateError
from ...core.process.signalling import open_pidfd, reap, working_directory
from ...core.record import replace
from ...errors import ReloadFailed
from ..model.fleet import Slot, Worker
from ..model.lifecycle import ReloadState, WorkerState
from ..model.policy import Policy
from ..model.reconcile import rolled
from ..model.reload import REVERT_S, Reload, ReloadRecord, Waiter
from ..state.office import Office
from ..system.kin import Kin, recognise
from .changes import Changes
from .links import ZYGOTE_BOUNDS, ZygoteLink
from .load import FORK, WORKER, Load
from .loader import Loader, run_again
from .nursery import Nursery, other_version

#: A zygote that does not answer an order to fork within this time is stuck, and replaced.
_FORK_TIMEOUT_S = 10.0
#: Time for the hooks that run at the end of its last worker.
_END_TIMEOUT_S = 30.0
#: The first worker of a generation goes ahead alone for this long, so that a start that fails, fails once.
PILOT_S = 2.0
#: A spare zygote that could not be made, or did not live to be one, is tried again after this time.
SPARE_RETRY_S = 5.0
#: A generation without any zygote asks for a reload again after the first time, then after twice as long, and so on.
RESCUE_FIRST_S = 1.0
RESCUE_LONGEST_S = 60.0
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


class Workers(Protocol):
    """The workers, as those who deal with zygotes need them; see `workers.workforce`."""

    def forked(self, zygote: ZygoteLink, message: Forked, kin: Kin) -> None: ...
    def fork_failed(self, message: ForkFailed) -> None: ...
    def reaped(self, zygote: ZygoteLink, pid: int, status: int) -> None: ...
    def zygote_lost(self, ident: int) -> None: ...
    def has_workers_of(self, zygote: ZygoteLink) -> bool: ...
    def knows(self, pid: int) -> bool: ...
    def kill(self, worker: Worker, reason: str, *, dump: bool) -> None: ...
    def heal(self, slot: Slot) -> None: ...
    def tell_outcome(self, outcome: ReloadOutcome) -> None: ...


class Generations:
    """first: the zygote of the first generation; None where its workers load the program themselves, which `load` says.
    load: None where that zygote is to say it. on_founder_lost: told when it dies before the server was ever ready."""

    def __init__(
        self, office: Office, first: ZygoteLink | None, load: Load | None, on_founder_lost: Callable[[str], None]
    ) -> None:
        self._office = office
        self._log = office.log
        self._zygotes = [first] if first is not None else []
        #: Of the generations whose workers load the program themselves.
        self._nurseries = {} if first is not None else {1: Nursery(office, 1)}
        #: How the workers of the generation that serves, and of the next, get the program.
        self.load = self._candidate_load = load or Load(FORK)
        #: Where the next generation's program stood when it arrived, "" where nobody knows.
        self._directory = ""
        self._on_founder_lost = on_founder_lost
        self._loader: Loader | None = None
        self._candidate_policy = office.policy
        self._next = 2
        self._end_deadline = 0.0
        self._spare_not_before = 0.0
        #: When to try again to bring up a zygote for the generation that has lost all of its own, and how often it
        #: was tried.
        self._rescue_at = 0.0
        self._rescues = 0
        #: How long the last reload took that succeeded, in seconds.
        self._usual_s = 0.0
        self._workforce: Workers
        self.reload = Reload()
        self._changes = Changes()
        self.last: ReloadRecord | None = None
        self.counts = {"ok": 0, "failed": 0}

    def open(self, workforce: Workers) -> None:
        """Called first thing inside the loop."""
        self._workforce = workforce
        for zygote in self._zygotes:
            self._watch(zygote)
            if zygote.arrived:
                self._office.welcome(zygote.channel, zygote.generation, environment=zygote.environment)

    # --- what others need to know ----------------------------------------------------------------------------

    @property
    def forkable(self) -> frozenset[int]:
        """Return the generations that can have a new worker at this moment."""
        forking = {zygote.generation for zygote in self._zygotes if zygote.loaded and not zygote.retired}
        return frozenset(forking | self._nurseries.keys())

    @property
    def self_loading(self) -> frozenset[int]:
        """Return the generations whose workers load the program themselves."""
        return frozenset(self._nurseries)

    @property
    def gone(self) -> bool:
        """Whether no zygote, and no program on its way to become one, is left."""
        return not self._zygotes and self._loader is None

    @property
    def loader_pid(self) -> int:
        """Return the pid of the program being run again, 0 if none is: it is reaped here and nowhere else."""
        return self._loader.pid if self._loader is not None else 0

    @property
    def deadline(self) -> float:
        """Return the next time at which something here is overdue; 0.0 if nothing is."""
        deadline = self.reload.deadline or self._end_deadline or self._rescue_at
        if self.reload.queued and not self.reload.idle and self._overtaken_at > monotonic():
            return min(deadline, self._overtaken_at)
        return deadline

    @property
    def _overtaken_at(self) -> float:
        """Return when the reload under way will have taken so long that a newer request may end it."""
        return self.reload.started_at + max(SUPERSEDE_AFTER_S, SUPERSEDE_FACTOR * self._usual_s)

    def source_of(self, generation: int) -> ZygoteLink | Nursery:
        """Return what makes workers of `generation`, which must be forkable."""
        return self._nurseries.get(generation) or self._zygote_of(generation)

    def _zygote_of(self, generation: int) -> ZygoteLink:
        return next(z for z in self._zygotes if z.generation == generation and z.loaded and not z.retired)

    def reopen_logs(self, kept: list[str]) -> None:
        for zygote in self._zygotes:
            self._office.tell(zygote.channel, ReopenLogs(kept))

    # --- what zygotes say ------------------------------------------------------------------------------------

    def _watch(self, zygote: ZygoteLink) -> None:
        self._office.loop.add_reader(zygote.channel.fileno(), self._on_readable, zygote)

    def _on_readable(self, zygote: ZygoteLink) -> None:
        received: deque[tuple[Message, list[int]]] = deque()
        try:
            received += zygote.channel.receive()
            zygote.said.count(len(received), zygote.channel)
            while received:
                message, fds = received.popleft()
                try:
                    self._hear(zygote, message, fds)
                finally:
                    close_fds([(message, fds)])
            if zygote.channel.holds_strays:
                raise ProtocolError("it sent a descriptor that goes with no message")
        except ChannelClosed:
            self._zygote_gone(zygote)
        except ProtocolError as error:
            close_fds(received)
            self._end_liar(zygote, error)
        self._office.poke()

    def _end_liar(self, zygote: ZygoteLink, error: ProtocolError) -> None:
        self._log.error(f"{zygote.name}: {error}; it is ended")
        if not self.reload.idle and zygote.generation == self.reload.generation:
            self.fail(f"{zygote.name} was ended: {error}")
        self._kill_zygote(zygote)

    def _hear(self, zygote: ZygoteLink, message: Message, fds: list[int]) -> None:
        """Do what follows from a message. fds: closed by the caller, but for those that are taken out of it."""
        match message:
            case Arrived():
                self._welcome(zygote, message)
            case Loaded():
                self._loaded(zygote, message)
            case LoadFailed() if self._is_first(zygote) and not zygote.loaded:
                self._on_founder_lost(clip(message.reason, MAX_REASON_CHARS))
            case LoadFailed():
                if zygote.loaded or zygote.generation != self.reload.generation:
                    raise ProtocolError("it says that it cannot be loaded, and nobody had asked it to load")
                self.fail(clip(message.reason, MAX_REASON_CHARS), clip(message.traceback))
            case Forked() | ForkFailed() if message.worker not in zygote.unanswered:
                raise ProtocolError(f"it speaks of a worker {message.worker} that it was not told to fork")
            case Forked():
                self._workforce.forked(zygote, message, self._recognise(zygote, message.pid, fds))
            case ForkFailed():
                del zygote.unanswered[message.worker]
                self._workforce.fork_failed(message)
            case Exited() if not (1 < message.pid < 2**31 and 0 <= message.status <= 0xFFFF):
                raise ProtocolError(f"it reports that process {message.pid} has ended with the status {message.status}")
            case Exited():
                self._workforce.reaped(zygote, message.pid, message.status)
            case Logged():
                self._office.recent.hear(message.text)
            case FilesChanged():
                self.files_changed(zygote.generation, zygote.pid, message.paths)
            case ZygoteForked() | ZygoteForkFailed() if not zygote.copies:
                raise ProtocolError("it speaks of a copy that it was not told to make")
            case ZygoteForked():
                self._copied(zygote.copies.popleft(), self._recognise(zygote, message.pid, fds), message.pid)
            case ZygoteForkFailed():
                self._drop_copy(zygote.copies.popleft())
                self._no_copy(message.generation, clip(message.reason, MAX_REASON_CHARS))
            case _:
                raise ProtocolError(f"it sent a {type(message).__name__}")

    def _recognise(self, zygote: ZygoteLink, pid: int, fds: list[int]) -> Kin:
        """Return what becomes of the zygote's word that `pid` is a new child of its. Takes the pidfd out of `fds` if it
        is kept. Raises ProtocolError for a lie."""
        # 0, -1 and 1 mean other things to those that send signals.
        if not 1 < pid < 2**31 or len(fds) > 1:
            raise ProtocolError(f"it speaks of process {pid} with {len(fds)} descriptors")
        if self._workforce.knows(pid) or any(other.pid == pid for other in self._zygotes):
            raise ProtocolError(f"it calls process {pid} new, which is not so")
        told = fds[0] if fds else None
        kin = recognise(pid, told, zygote.pid, zygote.pidfd, strict=self._office.command.account is not None)
        if kin.pidfd is not None and kin.pidfd == told:
            fds.clear()
        return kin

    def files_changed(self, generation: int, teller: int, paths: list[str]) -> None:
        """Source files of that generation's program have changed on the disk, as process `teller` has seen. Raises
        ProtocolError where nobody is to look for that."""
        if generation != self._office.target.committed:
            return
        if not self._office.policy.use_reloader:
            raise ProtocolError("it reports changed files, and is not to look for any")
        if new := self._changes.new(teller, paths, monotonic()):
            names = ", ".join(os.path.basename(path) for path in new[:3])  # noqa: PTH119
            self.request(None, None, f"changed: {clip(names, MAX_REASON_CHARS)}")

    def _welcome(self, zygote: ZygoteLink, message: Arrived) -> None:
        """The program that was run again has reached start()."""
        if message.pid != zygote.pid or zygote.arrived or zygote.loaded:
            raise ProtocolError(f"it says that it has arrived as process {message.pid}")
        zygote.arrived, zygote.directory = True, working_directory(message.pid)
        if (reason := other_version(message)) is not None:
            self.fail(f"the new program {reason}")
            return
        self._office.welcome(zygote.channel, zygote.generation)

    def _copied(self, copy: ZygoteLink, kin: Kin, pid: int) -> None:
        """A zygote says who the copy is that it has made of itself."""
        if kin.there and copy in self._zygotes:
            copy.pid, copy.pidfd = pid, kin.pidfd
            if copy.early is not None:
                try:
                    self._loaded(copy, copy.early)
                except ProtocolError as error:
                    self._end_liar(copy, error)
        elif kin.pidfd is not None:
            os.close(kin.pidfd)
        # else it has ended already, which its channel will say

    def _drop_copy(self, copy: ZygoteLink) -> None:
        """The copy does not exist, or nobody can say who it is: then it finds its channel closed, and ends."""
        if copy in self._zygotes and not copy.pid:
            copy.retired = copy.retired or copy.spare
            self._zygote_gone(copy)

    def _loaded(self, zygote: ZygoteLink, message: Loaded) -> None:
        """The zygote can fork."""
        if not zygote.pid:
            zygote.early = message  # who it is, the zygote says that made it
            return
        if (message.pid, message.generation) != (zygote.pid, zygote.generation) or zygote.loaded:
            raise ProtocolError(f"it says that it is process {message.pid}, with generation {message.generation}")
        zygote.loaded = True
        self._zygote_loaded(zygote, message)

    def _zygote_loaded(self, zygote: ZygoteLink, message: Loaded) -> None:
        if self._office.target.stopping:
            self._retire(zygote)
        elif self.reload.state is ReloadState.LOADING and zygote.generation == self.reload.generation:
            self._begin_rolling(zygote, message)
        elif self._is_first(zygote):
            self._first_loaded(zygote, message)

    def _is_first(self, zygote: ZygoteLink) -> bool:
        """Whether it is the program of `aeros run`, on its way to be the first zygote."""
        return zygote.arrived and not self._office.was_ready and zygote.generation == self._office.target.committed

    def _first_loaded(self, zygote: ZygoteLink, message: Loaded) -> None:
        """The program of `aeros run`, which a child of ours has loaded, says how its workers get it."""
        office, self.load = self._office, Load.from_message(message.load, message.threads)
        for note in message.notes[:_MOST_NOTES]:
            self._log.warning(clip(note, MAX_REASON_CHARS))
        if self.load.how == WORKER and office.command.why_not:
            self._on_founder_lost(f"no worker can load the app itself: {office.command.why_not}")
        elif self.load.how == WORKER:
            self._nurseries[zygote.generation] = Nursery(office, zygote.generation, zygote, self._zygotes.remove)

    def _zygote_gone(self, zygote: ZygoteLink) -> None:
        """End-of-file: the process has ended or closed its channel; either way it forks no more."""
        if zygote not in self._zygotes:
            return
        self._zygotes.remove(zygote)
        self._office.forget(zygote.channel)
        zygote.close()
        for copy in zygote.copies:
            self._drop_copy(copy)
        for ident in list(zygote.unanswered):
            self._workforce.zygote_lost(ident)
        if zygote.retired or self._office.target.stopping:
            pass
        elif not zygote.loaded and zygote.spare and zygote.generation in self.forkable:
            # It never was one; whoever could not make it has said why, and is still there.
            self._spare_not_before = monotonic() + SPARE_RETRY_S
        elif not self.reload.idle and zygote.generation == self.reload.generation:
            if self._loader is None:
                self.fail(f"{zygote.name} died")
            # else: how the program ended explains it better, and is on its way
        else:
            self._replace(zygote)
        self._office.poke()

    def _replace(self, lost: ZygoteLink) -> None:
        office = self._office
        if any(zygote.generation == lost.generation and not zygote.retired for zygote in self._zygotes):
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
            self.request(None, None, f"{lost.name} died and no spare was left")

    def end_stuck(self, zygote: ZygoteLink, what: str) -> None:
        """Kill a zygote that does not answer, if it is still there. what: it does not do, for the log."""
        if zygote in self._zygotes:
            self._log.error(f"{zygote.name} {what}; it is killed")
            self._kill_zygote(zygote)

    def _kill_zygote(self, zygote: ZygoteLink) -> None:
        zygote.signal(signal.SIGKILL)
        self._zygote_gone(zygote)

    def _retire(self, zygote: ZygoteLink) -> None:
        if not zygote.retired:
            zygote.retired = True
            self._office.tell(zygote.channel, RetireZygote())

    def _fork_zygote(self, parent: ZygoteLink, generation: int) -> None:
        """Have `parent` make a copy of itself: a spare, or the next generation."""
        try:
            channel, theirs = channel_pair("a zygote", ZYGOTE_BOUNDS)
            with theirs:
                self._office.tell(parent.channel, ForkZygote(generation), [theirs.fileno()])
        except OSError as error:
            self._no_copy(generation, f"{type(error).__name__}: {error}")
            return
        zygote = ZygoteLink(generation, channel, spare=generation == self._office.target.committed)
        parent.copies.append(zygote)
        self._zygotes.append(zygote)
        self._watch(zygote)

    def _no_copy(self, generation: int, reason: str) -> None:
        """A copy of a zygote could not be made: the system refused."""
        if not self.reload.idle and generation == self.reload.generation:
            self.fail(f"no zygote could be made for it: {reason}")
        else:
            self._spare_not_before = monotonic() + SPARE_RETRY_S
            again = show_duration(SPARE_RETRY_S)
            self._log.warning(f"no spare zygote could be made: {reason}; next attempt in {again}")

    def check(self, now: float) -> None:
        """Stuck zygotes are killed, the serving generation gets a spare, at the end all are let go."""
        for zygote in list(self._zygotes):
            if zygote.unanswered and now - min(zygote.unanswered.values()) > _FORK_TIMEOUT_S:
                self.end_stuck(zygote, f"has not forked for {_FORK_TIMEOUT_S:.0f} s")
            elif zygote.retired:
                self._see_it_end(zygote, now)
        if self._office.target.stopping:
            self._end_zygotes(now)
        elif self._office.was_ready and self.reload.idle:
            self._keep_spare()
            self._rescue(now)

    def _see_it_end(self, zygote: ZygoteLink, now: float) -> None:
        """A zygote that was told to end does so once its last worker has. Each reload would leave one that does not."""
        if self._workforce.has_workers_of(zygote):
            return
        zygote.done_at = zygote.done_at or now
        if now - zygote.done_at > _END_TIMEOUT_S:
            self.end_stuck(zygote, f"has not ended {_END_TIMEOUT_S:.0f} s after its last worker")

    def _keep_spare(self) -> None:
        """One zygote forks, one stands by: the death of either costs nothing."""
        generation = self._office.target.committed
        own = [zygote for zygote in self._zygotes if zygote.generation == generation and not zygote.retired]
        if len(own) == 1 and own[0].loaded and monotonic() >= self._spare_not_before:
            self._fork_zygote(own[0], generation)

    def _rescue(self, now: float) -> None:
        """A generation without a zygote cannot replace a worker. The reload that was to change that has been refused,
        so another one is tried, ever less often: the code on disk may be mended, or what was short be there again."""
        if self._office.target.committed in self.forkable or self._office.command.why_not:
            self._rescue_at, self._rescues = 0.0, 0
        elif not self._rescue_at:
            self._rescue_at = now + min(RESCUE_LONGEST_S, RESCUE_FIRST_S * 2.0**self._rescues)
        elif now >= self._rescue_at:
            self._rescue_at, self._rescues = 0.0, self._rescues + 1
            self.request(None, None, "no zygote is left to fork workers")

    def stop(self) -> None:
        """The server is stopping: no reload will happen, zygotes end when their last worker has."""
        self._nurseries.clear()
        self._office.answers += [partial(waiter, None) for waiter in self.reload.abandon()]
        if self._loader is not None:
            self._drop_loader(self._loader)
        for zygote in self._zygotes:
            self._retire(zygote)

    def _end_zygotes(self, now: float) -> None:
        if self._office.fleet.workers or not self._zygotes:
            return
        if not self._end_deadline:
            # The program's exit handlers run in the zygote that loaded it, bounded by the shutdown timeout.
            self._end_deadline = now + self._office.policy.shutdown_timeout_s + _LAST_CALL_S
        elif now >= self._end_deadline:
            for zygote in list(self._zygotes):
                self._kill_zygote(zygote)

    # --- reload ----------------------------------------------------------------------------------------------

    def request(self, waiter: Waiter | None, timeout_s: float | None, why: str) -> None:
        """Ask for a reload. It begins at once, or after the one under way."""
        self._log.info(f"reload requested: {why}")
        self.reload.enqueue(waiter, timeout_s)
        self._office.poke()

    def advance(self) -> None:
        """Move the reload on as far as it goes now."""
        if self._office.target.stopping:
            return
        now, reload = monotonic(), self.reload
        self._supersede(now)
        if reload.state in (ReloadState.LOADING, ReloadState.ROLLING) and now >= reload.deadline:
            self._overdue(now)
        if reload.state is ReloadState.ROLLING and rolled(self._office.fleet, self._office.target, now):
            self._commit(now)
        if reload.state is ReloadState.REVERTING:
            if not self._leftovers():
                reload.on("reverted")
                self._finish(reload.failure)
            elif now >= reload.deadline:
                for zygote in [z for z in self._zygotes if z.generation == reload.generation]:
                    self._kill_zygote(zygote)
                if self._left_to_serve():
                    reload.on("reverted")
                    self._finish(reload.failure)
        # During an upgrade requests wait: its outcome decides whose they are.
        if reload.idle and reload.queued and self._office.was_ready and not self._office.upgrading:
            self._begin(now)

    def _begin(self, now: float) -> None:
        office = self._office
        limit = now + (self.reload.queued_timeout_s or float("inf"))
        deadline = min(limit, now + office.policy.boot_timeout_s)
        generation, how = self._next, "refork" if office.command.why_not else "rerun"
        self._next += 1
        self.reload.begin(generation, how, now, deadline, limit)
        if how == "refork":
            if office.target.committed in self.forkable:
                self._fork_zygote(self._zygote_of(office.target.committed), generation)
            else:
                self.fail(f"the zygote is gone, and the program cannot be run again: {office.command.why_not}")
            return
        self._log.info(f"reloading: running the program again as generation {generation}")
        try:
            self._run_again(generation)
        except OSError as error:
            self.fail(f"cannot run the program again: {error}")

    def _run_again(self, generation: int) -> None:
        self._loader, channel = run_again(self._office, generation, self._office.command)
        zygote = ZygoteLink(generation, channel, self._loader.pid, open_pidfd(self._loader.pid))
        self._zygotes.append(zygote)
        self._watch(zygote)

    def _begin_rolling(self, zygote: ZygoteLink, message: Loaded) -> None:
        now, office, generation = monotonic(), self._office, zygote.generation
        if self._loader is not None:
            self._loader.succeeded()
            self._loader = None
        self.reload.on("loaded")
        load = Load.from_message(message.load, message.threads)
        if load.how == WORKER and office.command.why_not:
            raise ProtocolError("its workers cannot load the program, which cannot be run again")
        rounds = office.target.rounds if load.how == WORKER else 1
        self.reload.deadline = min(self.reload.limit, now + rounds * office.policy.boot_timeout_s + _ROLL_MARGIN_S)
        try:
            self._candidate_policy = self._accepted(Policy.from_message(message.policy))
            office.take_certificates(generation, self._candidate_policy)
        except (TypeError, KeyError, AttributeError) as error:
            self.fail(f"the new program has another version of Aeros; restart the server to change it ({error})")
            return
        except ValueError as error:
            self.fail(f"the new program asks for what cannot be: {error}")
            return
        except (CertificateError, ReloadFailed, OSError) as error:
            self.fail(str(error))
            return
        for note in message.notes[:_MOST_NOTES]:
            self._log.warning(clip(note, MAX_REASON_CHARS))
        self._candidate_load, self._directory = load, zygote.directory
        if load.how == WORKER:
            self._nurseries[generation] = Nursery(office, generation, zygote, self._zygotes.remove)
        for slot in office.fleet.slots.values():
            self._workforce.heal(slot)
        office.target.candidate = generation
        office.target.surge = self._candidate_policy.reload_surge
        office.target.pilot_until = now + PILOT_S

    def _accepted(self, policy: Policy) -> Policy:
        """Return the policy that a new program asks for, or the part of it that is its to ask for. Raises ReloadFailed
        where another user's program asks for more."""
        office = self._office
        if office.command.account is None:
            return policy  # it is the user that we are, and could do by itself whatever we do for it
        if beyond := policy.beyond(office.policy):
            raise ReloadFailed(
                f"the new program asks for other {', '.join(beyond)}: with --run-as these are as whoever started the "
                "server has them; use aeros upgrade or a restart to change them"
            )
        return replace(policy, tls_files=office.policy.tls_files)

    def _commit(self, now: float) -> None:
        office = self._office
        old, new = office.target.committed, self.reload.generation
        self.reload.on("commit")
        office.fleet.settle_on(office.target, new)
        before, office.policy = office.policy, self._candidate_policy
        self.load = self._candidate_load
        self._nurseries.pop(old, None)
        wanted = office.policy.workers
        if wanted not in (before.workers, office.target.workers):
            # What was scaled by hand stays, unless the program itself now says something new.
            self._log.info(f"the new program asks for {wanted} workers instead of {office.target.workers}")
            office.target.workers = wanted
            office.fleet.set_slots(office.target)
        for zygote in self._zygotes:
            if zygote.generation == old:
                self._retire(zygote)
        self.counts["ok"] += 1
        self._usual_s = now - self.reload.started_at
        seconds, why_same = round(now - self.reload.started_at, 3), office.command.why_not
        record = ReloadRecord(True, new, self.reload.how, seconds, wall_time(), why_same)
        same = f" (the same code: {why_same})" if why_same else ""
        place = f" from {self._directory}" if self._directory else ""
        self._log.info(f"reloaded: generation {new} serves after {show_duration(record.seconds)}{place}{same}")
        self._finish(record)

    def _supersede(self, now: float) -> None:
        """A newer request overtakes a reload that takes unusually long: it may hang, and the fix may be on disk."""
        reload = self.reload
        slow = reload.queued and now >= self._overtaken_at
        untouched = not any(slot.generation == reload.generation for slot in self._office.fleet.slots.values())
        if reload.state in (ReloadState.LOADING, ReloadState.ROLLING) and slow and untouched:
            # Who asked for it asked for the newest code, and gets the outcome of the one that has it.
            reload.queued_waiters = [*reload.take_waiters(), *reload.queued_waiters]
            self.fail("a newer request overtook it", logged=True, overtaken=True)

    def fail(self, reason: str, traceback: str = "", *, logged: bool = False, overtaken: bool = False) -> None:
        """The new generation is not coming: put everything back, and tell who asked when that is done.

        logged: the log has the traceback already, from the program itself. overtaken: by a newer request, so it is
        no failure.
        """
        if self.reload.state not in (ReloadState.LOADING, ReloadState.ROLLING) or self._office.target.stopping:
            return
        office, now, new = self._office, monotonic(), self.reload.generation
        self.reload.on("fail")
        self.reload.deadline = now + REVERT_S + _LAST_CALL_S
        office.fleet.settle_on(office.target, office.target.committed)
        office.target.surge = office.policy.reload_surge
        if self._loader is not None:
            self._drop_loader(self._loader)
        self._nurseries.pop(new, None)
        for zygote in self._zygotes:
            if zygote.generation == new:
                self._retire(zygote)
        self.counts["failed"] += not overtaken
        seconds = round(now - self.reload.started_at, 3)
        refusal = ReloadRecord(False, new, self.reload.how, seconds, wall_time(), reason, traceback)
        self.reload.failure = None if overtaken else refusal
        outcome = "given up" if overtaken else f"refused, generation {office.target.committed} goes on serving"
        facts = {"generation": new, "reason": reason, "traceback": "" if logged else traceback}
        self._log.write("info" if overtaken else "error", f"reload {outcome}: {reason}", facts)
        office.poke()

    def _finish(self, record: ReloadRecord | None) -> None:
        self.last = record or self.last
        self.reload.deadline = 0.0
        if record is not None and self._office.target.committed in self.forkable:
            outcome = ReloadOutcome(record.ok, record.generation, record.reason, record.traceback, record.seconds)
            if self._office.target.committed in self._nurseries:
                self._workforce.tell_outcome(outcome)
            else:
                self._office.tell(self._zygote_of(self._office.target.committed).channel, outcome)
        self._office.answers += [partial(waiter, record) for waiter in self.reload.take_waiters()]
        self._office.poke()

    def _leftovers(self) -> bool:
        """Whether anything of the generation that was given up still exists."""
        generation = self.reload.generation
        if self._loader is not None or any(zygote.generation == generation for zygote in self._zygotes):
            return True
        return bool(self._office.fleet.of_generation(generation))

    def _left_to_serve(self) -> bool:
        """Whether the old generation, which has lost its zygote too or does not start any more, cannot take the slots
        back: what is left of the new one is all that serves there. It stays, and must not keep a later reload from
        beginning."""
        left = self._office.fleet.of_generation(self.reload.generation)
        return self._loader is None and all(worker.serving for worker in left)

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
            self._workforce.kill(worker, f"not ready {took} after the reload began", dump=True)
        if self._loader is None and not starting:
            self.fail(f"not ready {took} after the reload began")

    def _of_candidate(self) -> list[Worker]:
        return self._office.fleet.of_generation(self.reload.generation)

    # --- the program being run again -------------------------------------------------------------------------

    def _drop_loader(self, loader: Loader) -> None:
        """End a program that has not come as far as start()."""
        for zygote in self._zygotes:
            if zygote.generation == loader.generation:
                zygote.retired = True
        loader.kill()

    def reap(self) -> None:
        """Reap the program being run again and the zygotes, where they are our own children."""
        if self._loader is not None:
            self._reap_loader(self._loader)
        for zygote in list(self._zygotes):
            if zygote.pid and (self._loader is None or zygote.pid != self._loader.pid):
                with contextlib.suppress(ChildProcessError):
                    if reap(zygote.pid) is not None:
                        self._ended(zygote)

    def _ended(self, zygote: ZygoteLink) -> None:
        """It was reaped. What it started while it loaded the app may hold its end of the line open still."""
        zygote.reaped = True
        self._on_readable(zygote)
        self._zygote_gone(zygote)

    def _reap_loader(self, loader: Loader) -> None:
        status = loader.reap()
        if status is None:
            return
        self._loader = None
        reason, said, logged = loader.explain(status)
        for zygote in [z for z in self._zygotes if z.generation == loader.generation]:
            zygote.retired = True
            self._zygote_gone(zygote)
        if self.reload.generation == loader.generation:
            self.fail(reason, said, logged=logged)
