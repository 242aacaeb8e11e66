"""Every edge of the state machines, and every edge there is not."""

import itertools

import pytest

from aeros.supervisor.model.lifecycle import (
    HEIR_EDGES,
    RELOAD_EDGES,
    SLOT_EDGES,
    UPGRADE_EDGES,
    WORKER_EDGES,
    HeirState,
    IllegalTransition,
    ReloadState,
    SlotState,
    UpgradeState,
    WorkerState,
    advance,
)

TABLES = {
    WorkerState: WORKER_EDGES,
    SlotState: SLOT_EDGES,
    ReloadState: RELOAD_EDGES,
    UpgradeState: UPGRADE_EDGES,
    HeirState: HEIR_EDGES,
}
ALL = [
    pytest.param(edges, state, event, id=f"{states.__name__}-{state.value}-{event}")
    for states, edges in TABLES.items()
    for state, event in itertools.product(states, sorted({event for _, event in edges}))
]


@pytest.mark.parametrize(("edges", "state", "event"), ALL)
def test_edge(edges, state, event):
    if (state, event) in edges:
        assert advance(edges, state, event) is edges[state, event]
        return
    with pytest.raises(IllegalTransition) as caught:
        advance(edges, state, event)
    assert state.value in str(caught.value)
    assert event in str(caught.value)


def test_an_exited_worker_stays_exited():
    assert not [event for state, event in WORKER_EDGES if state is WorkerState.EXITED]


@pytest.mark.parametrize("state", [state for state in WorkerState if state is not WorkerState.EXITED])
def test_any_live_worker_can_be_killed_and_can_exit(state):
    assert advance(WORKER_EDGES, state, "kill") is WorkerState.KILLING
    assert advance(WORKER_EDGES, state, "exit") is WorkerState.EXITED


@pytest.mark.parametrize("state", list(SlotState))
def test_any_slot_can_be_filled_again(state):
    assert advance(SLOT_EDGES, state, "spawn") is SlotState.FILLED
