"""What the supervisor says of itself, from what it knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aeros.core.log.lines import LineLog
from aeros.core.shared.scoreboard import Scoreboard
from aeros.status.records import Reloaded
from aeros.supervisor.model.fleet import Target, Worker
from aeros.supervisor.model.lifecycle import ReloadState, SlotState, WorkerState
from aeros.supervisor.model.policy import Policy
from aeros.supervisor.model.reload import Reload
from aeros.supervisor.model.totals import Accounts
from aeros.supervisor.state.office import Office
from aeros.supervisor.summary import Known, facts_of, state_of, summary
from aeros.supervisor.system.launch import CommandLine

POLICY = Policy(2, 10.0, 5.0, 3.0, 1.0, None, None, None, use_reloader=False)


@pytest.fixture
def office() -> Iterator[Office]:
    """Two slots, each with a worker that serves."""
    scoreboard = Scoreboard.create(4)
    command = CommandLine("python", ("python", "app.py"), "/")
    office = Office(POLICY, [], scoreboard, LineLog(""), command, Target(2, committed=1))
    office.fleet.set_slots(office.target)
    for slot in (0, 1):
        worker = Worker(slot + 1, slot, 1, cell=slot, nonce="", spawned_at=5.0, state=WorkerState.READY, pid=70 + slot)
        worker.admitted = True
        office.fleet.workers[worker.ident] = worker
    office.was_ready = True
    yield office
    scoreboard.close()


def lose_a_worker(office: Office) -> None:
    del office.fleet.workers[2]


def lose_all(office: Office) -> None:
    office.fleet.workers.clear()
    for slot in office.fleet.slots.values():
        slot.state = SlotState.FAILED


def not_ready(office: Office) -> None:
    office.was_ready = False


def last_call(office: Office) -> None:
    office.target.last_call_until = 9.0


def stop(office: Office) -> None:
    office.target.stopping = "graceful"


@pytest.mark.parametrize(
    ("change", "reloading", "state"),
    [
        (lambda office: None, False, "ready"),
        (lambda office: None, True, "reloading"),
        (lose_a_worker, False, "degraded"),
        (lose_all, False, "failed"),
        (not_ready, True, "starting"),
        (last_call, True, "draining"),
        (stop, True, "stopping"),
    ],
)
def test_the_state_in_a_word(office: Office, change: Callable[[Office], None], reloading: bool, state: str) -> None:
    change(office)
    assert state_of(office, Reload(ReloadState.ROLLING if reloading else ReloadState.IDLE)) == state


def test_the_facts_count_slots_and_not_workers(office: Office) -> None:
    office.fleet.workers[2].slot = 0  # a replacement beside the one that it replaces
    last = Reloaded(True, 1, "rerun", 0.5, 1e9)
    facts = facts_of(office, Reload(ReloadState.LOADING, generation=7), last)
    assert (facts.serving, facts.wanted, facts.generation, facts.reload, facts.last) == (1, 2, 1, 7, last)


def test_the_summary_has_slots_and_workers_with_a_pid(office: Office) -> None:
    office.fleet.workers[2].pid = 0
    office.fleet.slots[1].retry_at = 12.0
    ended = {"how": "SIGKILL"}
    known = Known(1, "degraded", ["http://[::1]:80"], "/run/1.sock", "", "fork", [], 1e9, None, None, {1: ended})
    accounts = Accounts(slots={0: [10, 1, 2], 1: [3, 0, 4]})
    found: dict[str, Any] = summary(office, known, accounts, offset=1000.0)
    assert [worker["pid"] for worker in found["workers"]] == [70]
    assert found["workers"][0]["started_at"] == 1005.0
    assert [slot["requests"] for slot in found["slots"]] == [[10, 1], [3, 0]]
    assert [slot["restarts"] for slot in found["slots"]] == [2, 4]
    assert [slot["retry_at"] for slot in found["slots"]] == [None, 1012.0]
    assert [slot["last_exit"] for slot in found["slots"]] == [None, ended]
