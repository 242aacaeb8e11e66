"""The supervisor's decisions: what differs between the fleet and its target, and what to do about it.

Pure: no system call, no clock, nothing changed. A start, a crash, a scale, a recycle and a reload are all
the same question asked again after each event, so any of them may happen in the middle of any other.

The rules, in the order of their weight:
  1. Stopping overrides everything: every worker is told to end; nothing is started.
  2. Each slot below N has a fresh worker of its generation. A dead one is replaced as soon as the slot's
     back-off allows.
  3. While a candidate generation is rolling, each slot also gets a candidate beside its worker; candidates wait.
  4. When every slot has a ready candidate the slots change over together (with a surge limit: each as soon as
     its own is ready).
  5. A ready worker of the slot's generation is told to accept. Only then is the one it replaces told to end.
  6. At most one worker at a time is being recycled.
  7. Of workers that load the program themselves only so many load it at a time.
Until an upgrade has come to its end (`Target.hold`), rule 5 waits.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...core.clock import show_duration
from ...core.record import record
from .fleet import Fleet, Slot, Target, Worker
from .lifecycle import SlotState, WorkerState
from .policy import Policy

#: How long a reload or an upgrade waits for an old worker to say that it accepts no more.
LAST_ACCEPT_S = 1.0
#: A worker's own start-up timeout comes first: it can tell which await it hangs in.
BOOT_MARGIN_S = 1.0
#: A killed process that is still there after this long (uninterruptible sleep) is killed again, and reported.
KILL_REPEAT_S = 5.0


@record
class Spawn:
    """Fork a worker of `generation` for `slot`."""

    slot: int
    generation: int


@record
class Admit:
    """Tell a ready worker to accept."""

    worker: int


@record
class RetireWorker:
    """Tell a worker to drain and end. reason: reload, recycle, scale, upgrade, stop or revert."""

    worker: int
    reason: str


@record
class KillWorker:
    """SIGKILL, with a stack dump first where `dump` says that the stack is the interesting part."""

    worker: int
    reason: str
    dump: bool


@record
class ChangeOver:
    """The slot serves the candidate generation from now on."""

    slot: int


@record
class DropSlot:
    """The slot is beyond N and empty."""

    slot: int


Action = Spawn | Admit | RetireWorker | KillWorker | ChangeOver | DropSlot


def reconcile(fleet: Fleet, target: Target, now: float) -> list[Action]:
    """Return what to do now to bring `fleet` to `target`; [] when nothing is to be done. now: monotonic seconds."""
    if target.stopping:
        return list(_stop(fleet, target))
    actions: list[Action] = list(_change_over(fleet, target))
    changing = {action.slot for action in actions if isinstance(action, ChangeOver)}
    recycling = _recycling_slot(fleet, target)
    surplus = sum(worker.state is not WorkerState.EXITED for worker in fleet.workers.values()) - target.workers
    room = target.loads_at_once - sum(worker.loading for worker in fleet.workers.values())
    by_slot = fleet.by_slot()
    for slot in fleet.slots.values():
        workers = by_slot.get(slot.index, [])
        if slot.index >= target.workers:
            actions += _empty(workers, slot)
            continue
        generation = target.candidate if slot.index in changing and target.candidate else slot.generation
        if target.candidate is None and len(workers) == 1 and _is_settled(workers[0], generation):
            continue  # as the rules would find, for five times as much; this runs once a second for every worker
        rolling = target.candidate if target.candidate != generation else None
        place = _Place(slot, workers, generation, rolling)
        for spawn in _spawn(fleet, place, target, recycling, surplus, now):
            if spawn.generation in target.self_loading:
                if room <= 0:
                    continue  # rule 7: when one of those that load the program has done so
                room -= 1
            surplus += 1
            actions.append(spawn)
        actions += _admit(place, target)
        actions += _retire(place)
    return actions


def overdue(fleet: Fleet, policy: Policy, now: float) -> list[KillWorker]:
    """Return the workers whose time is up, and for which of the deadlines. now: monotonic seconds."""
    return [
        KillWorker(worker.ident, _reason_to_kill(worker, policy), dump=worker.state is not WorkerState.KILLING)
        for worker in fleet.workers.values()
        if (deadline := deadline_of(worker, policy)) is not None and now >= deadline
    ]


def deadline_of(worker: Worker, policy: Policy) -> float | None:
    """Return when the worker's present state must have ended."""
    state = worker.state
    if state is WorkerState.READY:
        return worker.heartbeat_at + policy.worker_timeout_s if policy.worker_timeout_s else None
    if state is WorkerState.STARTING:
        return worker.spawned_at + policy.boot_timeout_s + BOOT_MARGIN_S
    if state is WorkerState.DRAINING:
        return worker.drain_deadline
    if state is WorkerState.KILLING:
        return worker.killed_at + KILL_REPEAT_S
    return None


def _reason_to_kill(worker: Worker, policy: Policy) -> str:
    """Return what to call it that the worker's present state has not ended in time."""
    if worker.state is WorkerState.READY:
        return f"its event loop made no progress for {show_duration(policy.worker_timeout_s)}"
    if worker.state is WorkerState.STARTING:
        return f"not ready {show_duration(policy.boot_timeout_s)} after its {'launch' if worker.launched else 'fork'}"
    if worker.state is WorkerState.DRAINING:
        return "still there when its time to drain and shut down was over"
    return worker.killed


def rolled(fleet: Fleet, target: Target, now: float) -> bool:
    """Return whether every slot is served by the candidate generation, and by no other: the reload can be committed.

    An old worker that was told to end and does not answer (its loop is blocked) is not waited for longer than
    LAST_ACCEPT_S.
    """
    for worker in fleet.workers.values():
        told = worker.retired and now >= worker.retired_at + LAST_ACCEPT_S
        if worker.generation != target.candidate and worker.admitted and not told:
            return False
    served = {worker.slot for worker in fleet.serving() if worker.generation == target.candidate}
    slots = [slot for slot in fleet.slots.values() if slot.index < target.workers]
    return all(slot.generation == target.candidate and slot.index in served for slot in slots)


def next_wake(fleet: Fleet, target: Target, policy: Policy, now: float) -> float | None:
    """Return when to look again although nothing happens, or None. Monotonic seconds, later than `now`."""
    times = [
        slot.retry_at
        for slot in fleet.slots.values()
        if slot.state in (SlotState.BACKOFF, SlotState.FAILED) and slot.index < target.workers
    ]
    times.append(target.pilot_until)
    times += [deadline for worker in fleet.workers.values() if (deadline := deadline_of(worker, policy)) is not None]
    return min((at for at in times if at > now), default=None)


def _stop(fleet: Fleet, target: Target) -> Iterator[Action]:
    for worker in fleet.workers.values():
        if target.stopping == "now":
            if worker.state is not WorkerState.KILLING:
                yield KillWorker(worker.ident, "stop now", dump=False)
        elif worker.alive:
            yield RetireWorker(worker.ident, "upgrade" if target.upgraded else "stop")


def _change_over(fleet: Fleet, target: Target) -> Iterator[Action]:
    """Rule 4."""
    candidate = target.candidate
    if candidate is None:
        return
    waiting = [slot for slot in fleet.slots.values() if slot.index < target.workers and slot.generation != candidate]
    able = [slot for slot in waiting if _ready(fleet, slot, candidate)]
    if target.surge is not None or len(able) == len(waiting):
        for slot in able:
            yield ChangeOver(slot.index)


def _ready(fleet: Fleet, slot: Slot, generation: int) -> bool:
    return any(
        worker.state is WorkerState.READY and worker.generation == generation and not worker.recycle
        for worker in fleet.in_slot(slot.index)
    )


def _is_settled(worker: Worker, generation: int) -> bool:
    """Whether there is nothing to be done for it, nor beside it."""
    return (
        worker.state is WorkerState.READY
        and worker.told_to_accept
        and worker.generation == generation
        and not worker.recycle
    )


@record
class _Place:
    """One slot with its workers. generation: what it serves, after what changes over now. rolling: the candidate that
    it is to have beside that; None: none."""

    slot: Slot
    workers: list[Worker]
    generation: int
    rolling: int | None

    def has_fresh(self, generation: int) -> bool:
        return any(worker.fresh and worker.generation == generation for worker in self.workers)

    def wants(self, worker: Worker) -> bool:
        """Whether it is one of those that the slot is to have."""
        return worker.fresh and worker.generation in (self.generation, self.rolling)


def _spawn(
    fleet: Fleet, place: _Place, target: Target, recycling: int | None, surplus: int, now: float
) -> Iterator[Spawn]:
    """Rules 2, 3 and 6."""
    slot, generation, candidate = place.slot, place.generation, place.rolling
    if generation in target.forkable and not place.has_fresh(generation) and now >= slot.retry_at:
        recycled = any(worker.alive and worker.recycle and worker.generation == generation for worker in place.workers)
        its_turn = not recycled or slot.index == recycling
        if its_turn and not _waits_for_pilot(fleet, slot, target, now):
            yield Spawn(slot.index, generation)
    if candidate is not None and candidate in target.forkable and not place.has_fresh(candidate):
        room = target.surge is None or surplus < target.surge
        if room and not _waits_for_pilot(fleet, slot, target, now, candidate):
            yield Spawn(slot.index, candidate)


def _admit(place: _Place, target: Target) -> Iterator[Admit]:
    """Rule 5, its first half. A worker being recycled still serves until its replacement accepts, and so do those that
    it has replaced."""
    for worker in place.workers:
        right = worker.generation == place.generation and worker.state is WorkerState.READY
        if right and not worker.told_to_accept and not target.hold:
            yield Admit(worker.ident)


def _retire(place: _Place) -> Iterator[RetireWorker]:
    """Rule 5, its second half."""
    right = [worker for worker in place.workers if worker.generation == place.generation]
    newest = max((worker.ident for worker in right if worker.serving), default=0)
    for worker in place.workers:
        if worker.alive and not place.wants(worker):
            reason = _why_retire(worker, place.generation, newest)
            if reason:
                yield RetireWorker(worker.ident, reason)


def _why_retire(worker: Worker, generation: int, newest: int) -> str:
    """Return why a worker that is not wanted is to end now; "": not yet. newest: of those that serve `generation`."""
    if worker.state is WorkerState.STARTING:
        return "revert" if worker.generation > generation else "reload"
    if worker.generation != generation:
        # One that was never told to accept is left of a refused reload, and serves nobody.
        return "reload" if newest or not worker.told_to_accept else ""
    return "recycle" if newest > worker.ident else ""


def _waits_for_pilot(fleet: Fleet, slot: Slot, target: Target, now: float, generation: int | None = None) -> bool:
    """Of a generation nobody has seen ready yet, slot 0 goes first: a start that fails, fails once."""
    if slot.index == 0 or now >= target.pilot_until:
        return False
    wanted = slot.generation if generation is None else generation
    return not any(
        worker.generation == wanted and worker.state is not WorkerState.STARTING for worker in fleet.workers.values()
    )


def _empty(workers: list[Worker], slot: Slot) -> Iterator[Action]:
    for worker in workers:
        if worker.alive:
            yield RetireWorker(worker.ident, "scale")
    if not workers:
        yield DropSlot(slot.index)


def _recycling_slot(fleet: Fleet, target: Target) -> int | None:
    """Return the one slot whose worker may be recycled now: the one in progress, else the longest waiting."""
    if target.candidate is not None:
        return None  # a reload replaces them all anyway
    waiting = [
        worker for worker in fleet.workers.values() if worker.recycle and worker.alive and worker.slot < target.workers
    ]
    if not waiting:
        return None
    if any(worker.retired == "recycle" and worker.state is WorkerState.DRAINING for worker in fleet.workers.values()):
        in_progress = {worker.slot for worker in fleet.workers.values() if worker.state is WorkerState.STARTING}
        return next((worker.slot for worker in waiting if worker.slot in in_progress), None)
    starting = [
        w.slot for w in waiting if any(x.fresh and x.state is WorkerState.STARTING for x in fleet.in_slot(w.slot))
    ]
    return starting[0] if starting else waiting[0].slot
