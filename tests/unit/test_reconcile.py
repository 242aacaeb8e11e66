"""What reconcile decides, rule by rule, on fleets made by hand."""

import dataclasses

import pytest

from aeros.supervisor.model.fleet import Fleet, Slot, Target, Worker
from aeros.supervisor.model.lifecycle import SlotState, WorkerState
from aeros.supervisor.model.policy import Policy
from aeros.supervisor.model.reconcile import (
    BOOT_MARGIN_S,
    KILL_REPEAT_S,
    Admit,
    ChangeOver,
    DropSlot,
    KillWorker,
    RetireWorker,
    Spawn,
    next_wake,
    overdue,
    reconcile,
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
NOW = 1000.0


def fleet_of(*workers, slots=2, generation=1):
    fleet = Fleet()
    for index in range(slots):
        fleet.slots[index] = Slot(index, generation, SlotState.FILLED)
    for number, worker in enumerate(workers, 1):
        worker.ident = number
        fleet.workers[number] = worker
    return fleet


def worker(slot, state="serving", generation=1, **changes):
    made = Worker(0, slot, generation, slot, "nonce", NOW - 5.0, pid=100 + slot)
    if state != "starting":
        made.state = WorkerState.READY if state in ("ready", "serving") else WorkerState(state)
        made.ready_at = made.heartbeat_at = NOW - 4.0
        made.told_to_accept = made.admitted = state == "serving"
    return dataclasses.replace(made, **changes)


def target(workers=2, **changes):
    changes.setdefault("forkable", frozenset({1, 2}))
    return Target(workers, committed=1, **changes)


def decide(fleet, wanted, now=NOW):
    return reconcile(fleet, wanted, now)


def test_a_settled_fleet_needs_nothing():
    assert decide(fleet_of(worker(0), worker(1)), target()) == []


def test_empty_slots_are_filled():
    assert decide(fleet_of(), target()) == [Spawn(0, 1), Spawn(1, 1)]


def test_at_the_first_start_slot_0_goes_ahead_alone():
    first = target(pilot_until=NOW + 2)
    assert decide(fleet_of(), first) == [Spawn(0, 1)]
    assert decide(fleet_of(worker(0, "starting")), first) == []
    assert decide(fleet_of(worker(0, "starting")), first, NOW + 2) == [Spawn(1, 1)], "a slow start is not a failing one"
    assert decide(fleet_of(worker(0, "ready")), first) == [Admit(1), Spawn(1, 1)]


def test_a_ready_worker_is_told_to_accept_once():
    assert decide(fleet_of(worker(0), worker(1, "ready")), target()) == [Admit(2)]
    assert decide(fleet_of(worker(0), worker(1, "ready", told_to_accept=True)), target()) == []


def test_nothing_is_spawned_before_its_back_off_is_over():
    fleet = fleet_of(worker(0))
    fleet.slots[1].state, fleet.slots[1].retry_at = SlotState.BACKOFF, NOW + 1
    assert decide(fleet, target()) == []
    assert next_wake(fleet, target(), POLICY, NOW) == NOW + 1
    assert decide(fleet, target(), NOW + 1) == [Spawn(1, 1)]


def test_nothing_is_spawned_of_a_generation_without_a_zygote():
    assert decide(fleet_of(worker(0)), target(forkable=frozenset())) == []


def test_scaling_down_retires_and_then_drops_the_slot():
    fleet = fleet_of(worker(0), worker(1))
    assert decide(fleet, target(1)) == [RetireWorker(2, "scale")]
    fleet.workers[2].state = WorkerState.DRAINING
    assert decide(fleet, target(1)) == []
    del fleet.workers[2]
    assert decide(fleet, target(1)) == [DropSlot(1)]


# --- reload


def test_candidates_start_beside_the_old_ones_and_wait_for_each_other():
    rolling = target(candidate=2)
    fleet = fleet_of(worker(0), worker(1))
    assert decide(fleet, rolling) == [Spawn(0, 2), Spawn(1, 2)]
    fleet = fleet_of(worker(0), worker(1), worker(0, "ready", 2), worker(1, "starting", 2))
    assert decide(fleet, rolling) == [], "the first ready candidate must neither accept nor push anyone out"


def test_all_change_over_together_when_all_candidates_are_ready():
    fleet = fleet_of(worker(0), worker(1), worker(0, "ready", 2), worker(1, "ready", 2))
    assert decide(fleet, target(candidate=2)) == [ChangeOver(0), ChangeOver(1), Admit(3), Admit(4)]


def test_an_old_worker_goes_only_when_its_successor_accepts():
    fleet = fleet_of(worker(0), worker(1), worker(0, "serving", 2), worker(1, "ready", 2, told_to_accept=True))
    for slot in fleet.slots.values():
        slot.generation = 2
    assert decide(fleet, target(candidate=2)) == [RetireWorker(1, "reload")]


def test_an_old_worker_that_dies_during_a_reload_is_replaced_by_its_own_generation():
    fleet = fleet_of(worker(0), worker(0, "starting", 2), worker(1, "starting", 2))
    assert decide(fleet, target(candidate=2)) == [Spawn(1, 1)]


def test_a_refused_generation_is_ended_and_the_old_one_not_touched():
    fleet = fleet_of(worker(0), worker(1), worker(0, "ready", 2), worker(1, "starting", 2))
    assert decide(fleet, target()) == [RetireWorker(3, "reload"), RetireWorker(4, "revert")]


def test_a_surge_limit_changes_slots_over_one_by_one():
    rolling = target(candidate=2, surge=1)
    fleet = fleet_of(worker(0), worker(1))
    assert decide(fleet, rolling) == [Spawn(0, 2)]
    fleet = fleet_of(worker(0), worker(1), worker(0, "ready", 2))
    assert decide(fleet, rolling) == [ChangeOver(0), Admit(3)]
    fleet = fleet_of(worker(0, "draining"), worker(1), worker(0, "serving", 2))
    fleet.slots[0].generation = 2
    assert decide(fleet, rolling) == [], "the draining worker still uses the memory"
    fleet = fleet_of(worker(1), worker(0, "serving", 2))
    fleet.slots[0].generation = 2
    assert decide(fleet, rolling) == [Spawn(1, 2)]


def test_a_refusal_part_way_refills_the_old_generation_before_the_new_one_goes():
    fleet = fleet_of(worker(1), worker(0, "serving", 2))
    assert decide(fleet, target()) == [Spawn(0, 1)]
    fleet = fleet_of(worker(1), worker(0, "serving", 2), worker(0, "serving"))
    assert decide(fleet, target()) == [RetireWorker(2, "reload")]


def test_slots_added_during_a_reload_get_both_generations():
    fleet = fleet_of(worker(0), worker(0, "ready", 2), slots=2)
    assert decide(fleet, target(candidate=2)) == [Spawn(1, 1), Spawn(1, 2)]


# --- recycling


def test_a_recycled_worker_goes_when_its_replacement_accepts():
    old = worker(0, recycle="old")
    assert decide(fleet_of(old, worker(1)), target()) == [Spawn(0, 1)]
    assert decide(fleet_of(old, worker(1), worker(0, "starting")), target()) == []
    assert decide(fleet_of(old, worker(1), worker(0, "ready")), target()) == [Admit(3)]
    assert decide(fleet_of(old, worker(1), worker(0)), target()) == [RetireWorker(1, "recycle")]


def test_only_one_is_recycled_at_a_time():
    both = worker(0, recycle="old"), worker(1, recycle="old")
    assert decide(fleet_of(*both), target()) == [Spawn(0, 1)]
    draining = worker(0, "draining", recycle="old", retired="recycle")
    assert decide(fleet_of(draining, worker(0), worker(1, recycle="old")), target()) == []
    assert decide(fleet_of(worker(0), worker(1, recycle="old")), target()) == [Spawn(1, 1)]


def test_a_worker_that_dies_while_it_waits_for_its_recycling_is_replaced_at_once():
    assert decide(fleet_of(worker(0, recycle="old")), target()) == [Spawn(0, 1), Spawn(1, 1)]


# --- stopping


def test_stopping_retires_everything_and_starts_nothing():
    fleet = fleet_of(worker(0), worker(1, "starting"), worker(0, "draining"))
    stopping = target(stopping="graceful", candidate=2)
    assert decide(fleet, stopping) == [RetireWorker(1, "stop"), RetireWorker(2, "stop")]


def test_stopping_now_kills_everything_once():
    fleet = fleet_of(worker(0), worker(1, "draining"), worker(1, "killing"))
    killed = decide(fleet, target(stopping="now"))
    assert killed == [KillWorker(1, "stop now", dump=False), KillWorker(2, "stop now", dump=False)]


# --- deadlines


@pytest.mark.parametrize(
    ("one", "deadline", "dump"),
    [
        (worker(0, "starting"), NOW - 5.0 + 60.0 + BOOT_MARGIN_S, True),
        (worker(0, "serving"), NOW - 4.0 + 30.0, True),
        (worker(0, "draining", drain_deadline=NOW + 16.0), NOW + 16.0, True),
        (worker(0, "killing", killed_at=NOW, killed="why"), NOW + KILL_REPEAT_S, False),
    ],
    ids=["boot", "heartbeat", "drain", "kill"],
)
def test_each_state_has_a_deadline(one, deadline, dump):
    fleet = fleet_of(one)
    assert overdue(fleet, POLICY, deadline - 0.001) == []
    (kill,) = overdue(fleet, POLICY, deadline)
    assert (kill.worker, kill.dump) == (1, dump)
    assert kill.reason
    assert next_wake(fleet, target(), POLICY, NOW) == deadline


def test_without_a_worker_timeout_a_silent_worker_is_left_alone():
    quiet = dataclasses.replace(POLICY, worker_timeout_s=0.0)
    assert overdue(fleet_of(worker(0)), quiet, NOW + 1e6) == []


def test_while_held_nobody_is_admitted_and_the_dead_are_replaced():
    fleet = fleet_of(worker(0, "ready"), worker(1, "ready"))
    assert reconcile(fleet, target(hold=True), NOW) == []
    assert reconcile(fleet, target(), NOW) == [Admit(1), Admit(2)]
    alone = fleet_of(worker(0, "ready"))
    assert reconcile(alone, target(hold=True), NOW) == [Spawn(1, 1)]


def test_after_an_upgrade_the_workers_do_not_end_as_at_a_stop():
    fleet = fleet_of(worker(0), worker(1))
    ends = [RetireWorker(1, "upgrade"), RetireWorker(2, "upgrade")]
    assert reconcile(fleet, target(stopping="graceful", upgraded=True), NOW) == ends
