"""The state machines, each a closed enum and a table of its edges; nothing else may change a state."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar


class IllegalTransition(Exception):  # noqa: N818 - names the event, not the exception
    """An event arrived that the state has no edge for; the state is unchanged."""


class WorkerState(StrEnum):
    """One process. STANDBY is a worker that is up but not yet told to accept."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    KILLING = "killing"
    EXITED = "exited"


class SlotState(StrEnum):
    """A numbered place. BACKOFF waits before the next attempt; FAILED attempts only now and then."""

    EMPTY = "empty"
    FILLED = "filled"
    BACKOFF = "backoff"
    FAILED = "failed"


class ReloadState(StrEnum):
    """The way from one generation to the next."""

    IDLE = "idle"
    LOADING = "loading"
    ROLLING = "rolling"
    REVERTING = "reverting"


class UpgradeState(StrEnum):
    """The way from one supervisor to the next, as the old one goes it. OVER: the new one is the server."""

    IDLE = "idle"
    LOADING = "loading"
    PREPARING = "preparing"
    TAKING_OVER = "taking over"
    ENDING = "ending"
    OVER = "over"


class HeirState(StrEnum):
    """The same way as the new one goes it. ABANDONED: the upgrade is off, and this supervisor ends."""

    PREPARING = "preparing"
    PREPARED = "prepared"
    ADMITTING = "admitting"
    ACCEPTING = "accepting"
    SETTLED = "settled"
    ABANDONED = "abandoned"


WORKER_EDGES: Mapping[tuple[WorkerState, str], WorkerState] = {
    (WorkerState.STARTING, "ready"): WorkerState.READY,
    (WorkerState.STARTING, "retire"): WorkerState.DRAINING,
    (WorkerState.STARTING, "kill"): WorkerState.KILLING,
    (WorkerState.STARTING, "exit"): WorkerState.EXITED,
    (WorkerState.READY, "retire"): WorkerState.DRAINING,
    (WorkerState.READY, "kill"): WorkerState.KILLING,
    (WorkerState.READY, "exit"): WorkerState.EXITED,
    # A worker told to end while it was starting may still report that it is up: it changes nothing.
    (WorkerState.DRAINING, "ready"): WorkerState.DRAINING,
    (WorkerState.DRAINING, "retire"): WorkerState.DRAINING,
    (WorkerState.DRAINING, "kill"): WorkerState.KILLING,
    (WorkerState.DRAINING, "exit"): WorkerState.EXITED,
    (WorkerState.KILLING, "ready"): WorkerState.KILLING,
    (WorkerState.KILLING, "kill"): WorkerState.KILLING,
    (WorkerState.KILLING, "exit"): WorkerState.EXITED,
}

SLOT_EDGES: Mapping[tuple[SlotState, str], SlotState] = {
    (SlotState.EMPTY, "spawn"): SlotState.FILLED,
    (SlotState.EMPTY, "failure"): SlotState.BACKOFF,
    (SlotState.EMPTY, "give_up"): SlotState.FAILED,
    (SlotState.FILLED, "spawn"): SlotState.FILLED,
    (SlotState.FILLED, "expected_exit"): SlotState.EMPTY,
    (SlotState.FILLED, "failure"): SlotState.BACKOFF,
    (SlotState.FILLED, "give_up"): SlotState.FAILED,
    (SlotState.BACKOFF, "spawn"): SlotState.FILLED,
    (SlotState.BACKOFF, "failure"): SlotState.BACKOFF,
    (SlotState.BACKOFF, "give_up"): SlotState.FAILED,
    (SlotState.BACKOFF, "heal"): SlotState.EMPTY,
    (SlotState.FAILED, "spawn"): SlotState.FILLED,
    (SlotState.FAILED, "failure"): SlotState.FAILED,
    (SlotState.FAILED, "give_up"): SlotState.FAILED,
    (SlotState.FAILED, "heal"): SlotState.EMPTY,
}

RELOAD_EDGES: Mapping[tuple[ReloadState, str], ReloadState] = {
    (ReloadState.IDLE, "request"): ReloadState.LOADING,
    (ReloadState.LOADING, "loaded"): ReloadState.ROLLING,
    (ReloadState.LOADING, "fail"): ReloadState.REVERTING,
    (ReloadState.ROLLING, "commit"): ReloadState.IDLE,
    (ReloadState.ROLLING, "fail"): ReloadState.REVERTING,
    (ReloadState.REVERTING, "reverted"): ReloadState.IDLE,
}

UPGRADE_EDGES: Mapping[tuple[UpgradeState, str], UpgradeState] = {
    (UpgradeState.IDLE, "request"): UpgradeState.LOADING,
    (UpgradeState.LOADING, "arrived"): UpgradeState.PREPARING,
    (UpgradeState.LOADING, "fail"): UpgradeState.ENDING,
    (UpgradeState.PREPARING, "prepared"): UpgradeState.TAKING_OVER,
    (UpgradeState.PREPARING, "fail"): UpgradeState.ENDING,
    (UpgradeState.TAKING_OVER, "took_over"): UpgradeState.OVER,
    (UpgradeState.TAKING_OVER, "fail"): UpgradeState.ENDING,
    (UpgradeState.ENDING, "gone"): UpgradeState.IDLE,
}

HEIR_EDGES: Mapping[tuple[HeirState, str], HeirState] = {
    (HeirState.PREPARING, "ready"): HeirState.PREPARED,
    (HeirState.PREPARING, "abandon"): HeirState.ABANDONED,
    (HeirState.PREPARED, "take_over"): HeirState.ADMITTING,
    (HeirState.PREPARED, "abandon"): HeirState.ABANDONED,
    (HeirState.ADMITTING, "admitted"): HeirState.ACCEPTING,
    (HeirState.ADMITTING, "settle"): HeirState.SETTLED,
    (HeirState.ADMITTING, "abandon"): HeirState.ABANDONED,
    (HeirState.ACCEPTING, "settle"): HeirState.SETTLED,
    (HeirState.ACCEPTING, "abandon"): HeirState.ABANDONED,
}

S = TypeVar("S", bound=StrEnum)


def advance(edges: Mapping[tuple[S, str], S], state: S, event: str) -> S:
    """Return the state after `event`. Raises IllegalTransition, naming both, where the table has no edge."""
    try:
        return edges[state, event]
    except KeyError:
        raise IllegalTransition(f"{type(state).__name__} {state.value!r} has no edge for {event!r}") from None
