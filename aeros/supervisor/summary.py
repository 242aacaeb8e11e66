"""What the supervisor says of itself: its state in a word, what systemd is told, and the summary in the scoreboard.

Pure functions: they read what they are given, and change nothing.
"""

from __future__ import annotations

from typing import Any

from ..core.record import as_dict, record
from ..status.records import Reloaded, Upgraded
from .control.systemd import Facts
from .model.fleet import Slot, Worker
from .model.lifecycle import SlotState
from .model.reload import Reload
from .model.totals import Accounts
from .state.office import Office


def state_of(office: Office, reload: Reload) -> str:
    """starting, ready, reloading, degraded (fewer than N serve), failed (none can), draining (the drain delay before a
    stop) or stopping."""
    if office.target.stopping:
        return "stopping"
    if office.target.last_call_until:
        return "draining"
    if not office.was_ready:
        return "starting"
    if not reload.idle:
        return "reloading"
    slots = [slot for slot in office.fleet.slots.values() if slot.index < office.target.workers]
    serving = {worker.slot for worker in office.fleet.serving()}
    if all(slot.index in serving for slot in slots):
        return "ready"
    return "failed" if not serving and all(slot.state is SlotState.FAILED for slot in slots) else "degraded"


def facts_of(office: Office, reload: Reload, last: Reloaded | None) -> Facts:
    """Return what systemd, and the process title, say of the server. last: how the last reload ended."""
    target = office.target
    serving = len({worker.slot for worker in office.fleet.serving() if worker.slot < target.workers})
    under_way = 0 if reload.idle else reload.generation
    return Facts(state_of(office, reload), office.was_ready, serving, target.workers, target.committed, under_way, last)


@record
class Known:
    """What goes into the summary as it is."""

    pid: int
    state: str
    addresses: list[str]
    control: str
    admin: str
    load: str
    threads: list[str]
    started_at: float
    last_reload: Reloaded | None
    last_upgrade: Upgraded | None
    #: By slot: how its last worker ended.
    last_exits: dict[int, dict[str, Any]]


def summary(office: Office, known: Known, accounts: Accounts, offset: float) -> dict[str, Any]:
    """Return what goes into the scoreboard beside the workers' own figures; see `status`. offset: from monotonic
    seconds to those since the epoch."""
    return {
        "pid": known.pid,
        "name": office.policy.proctitle,
        "directory": office.command.directory,
        "generation": office.target.committed,
        "state": known.state,
        "target_workers": office.target.workers,
        "addresses": known.addresses,
        "control": known.control,
        "admin": known.admin,
        "load": known.load,
        "threads": known.threads,
        "started_at": known.started_at,
        "last_reload": as_dict(known.last_reload) if known.last_reload else None,
        "last_upgrade": as_dict(known.last_upgrade) if known.last_upgrade else None,
        "reloads": accounts.reloads,
        "exits": accounts.exits,
        "totals": accounts.totals.to_message(),
        "slots": [
            _slot(slot, accounts, offset, known.last_exits.get(slot.index)) for slot in office.fleet.slots.values()
        ],
        "workers": [_worker(worker, offset) for worker in office.fleet.workers.values() if worker.pid],
    }


def _slot(slot: Slot, accounts: Accounts, offset: float, last_exit: dict[str, Any] | None) -> dict[str, Any]:
    *requests, restarts = accounts.slots[slot.index]
    return {
        "slot": slot.index,
        "state": slot.state.value,
        "restarts": restarts,
        "requests": requests,
        "retry_at": slot.retry_at + offset if slot.retry_at else None,
        "last_exit": last_exit,
    }


def _worker(worker: Worker, offset: float) -> dict[str, Any]:
    return {
        "slot": worker.slot,
        "cell": worker.cell,
        "pid": worker.pid,
        "generation": worker.generation,
        "state": worker.state.value,
        "accepting": worker.admitted,
        "started_at": worker.spawned_at + offset,
        "recycle": worker.recycle,
    }
