"""Random lives of a fleet: whatever happens in whatever order, the invariants of docs/architecture.md hold.

The decisions are the product's (`reconcile`, `overdue`, `rolled`, the fleet's own state machines and back-off); the
processes and the clock are played by the test.
"""

import dataclasses

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aeros.supervisor.model.backoff import HEAL_AFTER_S, delay_before_respawn
from aeros.supervisor.model.fleet import Fleet, Target, Worker
from aeros.supervisor.model.lifecycle import SlotState, WorkerState
from aeros.supervisor.model.policy import Policy
from aeros.supervisor.model.reconcile import (
    Admit,
    ChangeOver,
    DropSlot,
    KillWorker,
    RetireWorker,
    Spawn,
    next_wake,
    overdue,
    reconcile,
    rolled,
)

POLICY = Policy(
    workers=2,
    boot_timeout_s=60.0,
    worker_timeout_s=30.0,
    drain_timeout_s=10.0,
    shutdown_timeout_s=5.0,
    max_lifetime_s=None,
    max_rss_bytes=None,
    reload_surge=None,
    use_reloader=False,
)
MOST = 4


class FleetLife(RuleBasedStateMachine):
    """Plays the zygotes, the workers and the clock to the supervisor's decisions."""

    def __init__(self):
        super().__init__()
        self.now = 1000.0
        self.fleet = Fleet()
        self.target = Target(2, committed=1, forkable=frozenset({1}))
        self.fleet.set_slots(self.target)
        self.next_ident = 1
        self.next_generation = 2
        self.losses_excused = set()
        self.settle()

    # --- the supervisor, as loop.py and workforce.py do it

    def settle(self):
        for kill in overdue(self.fleet, POLICY, self.now):
            self.perform(kill)
        for _ in range(8):
            actions = reconcile(self.fleet, self.target, self.now)
            for action in actions:
                self.perform(action)
            if not actions:
                break
        else:
            raise AssertionError(f"reconcile does not come to rest: {actions}")
        if self.target.candidate is not None and rolled(self.fleet, self.target, self.now) and not self.target.stopping:
            self.fleet.settle_on(self.target, self.target.candidate)
            self.target.forkable = frozenset({self.target.committed})
            self.settle()

    def perform(self, action):
        workers = self.fleet.workers
        match action:
            case Spawn(slot, generation):
                assert generation in self.target.forkable
                assert not self.target.stopping
                ident, self.next_ident = self.next_ident, self.next_ident + 1
                workers[ident] = Worker(ident, slot, generation, ident, "n", self.now, pid=ident)
                self.fleet.slots[slot].on("spawn")
                self.fleet.slots[slot].retry_at = 0.0
            case Admit(ident):
                assert workers[ident].state is WorkerState.READY
                workers[ident].told_to_accept = True
            case RetireWorker(ident, reason):
                one = workers[ident]
                if one.serving and not self.target.stopping and one.slot < self.target.workers:
                    others = [w for w in self.fleet.in_slot(one.slot) if w.serving and w is not one]
                    assert others, f"{one} retired although nobody else serves slot {one.slot}"
                one.on("retire")
                one.retired, one.retired_at = reason, self.now
                one.drain_deadline = self.now + POLICY.total_timeout_s
            case KillWorker(ident, reason, _):
                workers[ident].on("kill")
                workers[ident].killed, workers[ident].killed_at = reason, self.now
            case ChangeOver(slot):
                self.fleet.slots[slot].generation = self.target.candidate
            case DropSlot(slot):
                assert not self.fleet.in_slot(slot)
                del self.fleet.slots[slot]

    def lose(self, one):
        one.on("exit")
        del self.fleet.workers[one.ident]
        slot = self.fleet.slots.get(one.slot)
        if one.retired:
            if slot is not None and slot.state is SlotState.FILLED and not self.fleet.in_slot(one.slot):
                slot.on("expected_exit")
            return
        if one.generation == self.target.candidate:
            self.refuse()
        elif slot is not None and one.slot < self.target.workers and one.generation == self.target.committed:
            slot.failures = slot.failures.failed(self.now)
            delay = delay_before_respawn(slot.failures, self.now)
            if delay is None:
                slot.on("give_up")
                slot.retry_at = self.now + HEAL_AFTER_S
            elif not any(w.fresh for w in self.fleet.in_slot(one.slot)):
                slot.on("failure")
                slot.retry_at = self.now + delay

    def refuse(self):
        self.fleet.settle_on(self.target, self.target.committed)
        self.target.forkable = frozenset({self.target.committed})

    # --- what can happen

    def pick(self, data, *states):
        return data.draw(st.sampled_from([w for w in self.fleet.workers.values() if w.state in states]))

    def some(self, *states):
        return any(worker.state in states for worker in self.fleet.workers.values())

    @precondition(lambda self: self.some(WorkerState.STARTING))
    @rule(data=st.data())
    def a_worker_gets_ready(self, data):
        one = self.pick(data, WorkerState.STARTING)
        one.on("ready")
        one.ready_at = one.heartbeat_at = self.now
        self.settle()

    @precondition(lambda self: any(w.told_to_accept and not w.admitted for w in self.fleet.workers.values()))
    @rule(data=st.data())
    def a_worker_accepts(self, data):
        waiting = [w for w in self.fleet.workers.values() if w.told_to_accept and not w.admitted]
        data.draw(st.sampled_from(waiting)).admitted = True
        self.settle()

    @precondition(lambda self: self.fleet.workers)
    @rule(data=st.data())
    def a_worker_dies(self, data):
        self.lose(self.pick(data, *WorkerState))
        self.settle()

    @precondition(lambda self: self.some(WorkerState.DRAINING, WorkerState.KILLING))
    @rule(data=st.data())
    def a_worker_ends_as_told(self, data):
        self.lose(self.pick(data, WorkerState.DRAINING, WorkerState.KILLING))
        self.settle()

    @precondition(lambda self: self.some(WorkerState.READY))
    @rule(data=st.data())
    def a_worker_is_to_be_recycled(self, data):
        self.pick(data, WorkerState.READY).recycle = "old"
        self.settle()

    def left_over(self):
        return any(worker.generation > self.target.committed for worker in self.fleet.workers.values())

    # The next reload begins when nothing of a refused one is left.
    @precondition(lambda self: self.target.candidate is None and not self.target.stopping and not self.left_over())
    @rule(surge=st.sampled_from([None, None, 1, 2]))
    def a_new_generation_is_loaded(self, surge):
        self.target.candidate, self.next_generation = self.next_generation, self.next_generation + 1
        self.target.surge = surge
        self.target.pilot_until = self.now + 2.0
        self.target.forkable = frozenset({self.target.committed, self.target.candidate})
        self.settle()

    @precondition(lambda self: self.target.candidate is not None)
    @rule()
    def the_new_generation_is_refused(self):
        self.refuse()
        self.settle()

    @precondition(lambda self: not self.target.stopping)
    @rule(workers=st.integers(1, MOST))
    def somebody_scales(self, workers):
        self.target.workers = workers
        self.fleet.set_slots(self.target)
        self.settle()

    @rule(seconds=st.sampled_from([0.01, 0.5, 2.0, 10.0, 61.0]))
    def time_passes(self, seconds):
        self.now += seconds
        for one in self.fleet.workers.values():
            one.heartbeat_at = self.now
        self.settle()

    @rule(how=st.sampled_from(["graceful", "now"]))
    def somebody_stops_it(self, how):
        if self.target.stopping != "now":
            self.target.stopping = how
        self.settle()

    # --- what must hold

    @invariant()
    def processes_are_bounded(self):
        live = [w for w in self.fleet.workers.values() if w.alive]
        # One per slot and generation, and one more per slot that is being recycled.
        assert len(live) <= 3 * MOST

    @invariant()
    def no_two_fresh_workers_of_one_generation_share_a_slot(self):
        seen = set()
        for one in self.fleet.workers.values():
            if one.fresh:
                assert (one.slot, one.generation) not in seen
                seen.add((one.slot, one.generation))

    @invariant()
    def candidates_never_accept_before_their_slot_changed_over(self):
        for one in self.fleet.workers.values():
            if one.told_to_accept and one.alive and one.slot in self.fleet.slots:
                slot = self.fleet.slots[one.slot]
                assert one.generation <= slot.generation or self.target.candidate is None

    @invariant()
    def one_generation_at_rest(self):
        if self.target.candidate is None:
            assert {slot.generation for slot in self.fleet.slots.values()} <= {self.target.committed}

    @invariant()
    def nothing_is_forgotten(self):
        """Everything unfinished has a worker at work on it, or a time at which it is looked at again."""
        for slot in self.fleet.slots.values():
            served = any(w.serving for w in self.fleet.in_slot(slot.index))
            at_work = any(w.alive for w in self.fleet.in_slot(slot.index))
            wake = next_wake(self.fleet, self.target, POLICY, self.now)
            assert served or at_work or wake is not None or self.target.stopping or slot.index >= self.target.workers

    def at_rest(self):
        workers = self.fleet.workers.values()
        full = len(workers) == self.target.workers and all(worker.serving for worker in workers)
        return not workers if self.target.stopping else full and self.target.candidate is None

    @invariant()
    def it_can_always_be_finished(self):
        """From here, with everybody behaving, the fleet gets to full strength, or stops."""
        twin = FleetLife.__new__(FleetLife)
        twin.now, twin.next_ident, twin.next_generation = self.now, self.next_ident, self.next_generation
        twin.target = dataclasses.replace(self.target)
        twin.fleet = Fleet(
            {index: dataclasses.replace(slot) for index, slot in self.fleet.slots.items()},
            {ident: dataclasses.replace(one) for ident, one in self.fleet.workers.items()},
        )
        for _ in range(40):
            if twin.at_rest():
                break
            for one in list(twin.fleet.workers.values()):
                if one.state is WorkerState.STARTING:
                    one.on("ready")
                    one.ready_at = twin.now
                elif one.told_to_accept and not one.admitted:
                    one.admitted = True
                elif one.state in (WorkerState.DRAINING, WorkerState.KILLING):
                    twin.lose(one)
            twin.time_passes(7.0)
        if twin.target.stopping:
            assert not twin.fleet.workers
            return
        serving = {w.slot for w in twin.fleet.serving()}
        assert serving == set(range(twin.target.workers))
        assert len(twin.fleet.workers) == twin.target.workers
        assert twin.target.candidate is None
        assert {w.generation for w in twin.fleet.workers.values()} == {twin.target.committed}


TestFleetLife = FleetLife.TestCase
TestFleetLife.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
