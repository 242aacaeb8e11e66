"""What is counted in a server, handed on from one supervisor to the next."""

import json

import pytest

from aeros.supervisor.model.totals import Accounts, Totals


def accounts():
    made = Accounts(
        Totals(requests=5, bytes_in=7, seconds_sum=0.5), {"crash": 1}, {"ok": 2, "failed": 0}, {0: [3, 1, 0]}
    )
    made.totals.responses[1] = made.totals.histogram[4] = 5
    return made


def test_accounts_survive_the_way_to_another_supervisor():
    assert Accounts.from_message(json.loads(json.dumps(accounts().to_message()))) == accounts()


def test_sums_have_the_slots_and_kinds_of_both():
    other = Accounts(Totals(requests=1), {"crash": 2, "upgrade": 3}, {"ok": 1, "failed": 4}, {1: [1, 0, 2]})
    both = accounts().plus(other)
    assert (both.totals.requests, both.totals.bytes_in, both.totals.histogram[4]) == (6, 7, 5)
    assert both.exits == {"crash": 3, "upgrade": 3}
    assert both.reloads == {"ok": 3, "failed": 4}
    assert both.slots == {0: [3, 1, 0], 1: [1, 0, 2]}


@pytest.mark.parametrize(
    "changed", [{"histogram": [0] * 3}, {"a new figure": 1}, {"requests": "many"}, {"responses": None}]
)
def test_what_is_counted_otherwise_is_refused(changed):
    record = accounts().to_message()
    record["totals"] |= changed
    with pytest.raises(ValueError, match=r"."):
        Accounts.from_message(record)


@pytest.mark.parametrize("record", [None, [], {}, {"totals": {}, "exits": 1, "reloads": {}, "slots": {}}])
def test_nonsense_is_refused(record):
    with pytest.raises(ValueError, match=r"."):
        Accounts.from_message(record)
