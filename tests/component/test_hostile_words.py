"""What zygotes and workers say that cannot be: who says it is named and ended, and all others go on."""

from __future__ import annotations

import json
import signal
import struct
from collections.abc import Iterator

import pytest

from aeros.core.ipc.messages import (
    Accepting,
    Arrived,
    Exited,
    FilesChanged,
    Forked,
    ForkFailed,
    Go,
    Loaded,
    LoadFailed,
    Logged,
    Message,
    ProtocolError,
    Ready,
    ZygoteForked,
    ZygoteForkFailed,
    decode,
)
from aeros.version import __version__
from tests.component.played import Family, PlayedWorker
from tests.component.test_supervisor_model import POLICY


@pytest.fixture
def family() -> Iterator[Family]:
    played = Family(POLICY)
    played.behave()
    for _ in range(3):  # it has a spare zygote by then
        played.pass_time(1.0)
        played.behave()
    yield played
    assert not played.close()


def well(family: Family) -> bool:
    """Whether everything serves, after a while."""
    for _ in range(200):
        family.turn()
        family.behave()
        serving = {one.order.slot for one in family.system.running(PlayedWorker) if one.accepting}
        if serving == set(range(POLICY.workers)) and family.supervisor.reporter.state == "ready":
            return True
        family.pass_time(0.5)
    return False


ZYGOTE_LIES: list[Message] = [
    Arrived(10_000_000, __version__),
    Loaded(10_000_000, 1, POLICY.to_message()),
    Loaded(10_000_000, 2, POLICY.to_message()),
    LoadFailed("nobody had asked", ""),
    Forked(1, 10_000_001, 0),
    Forked(99, 10_000_001, 0),
    ForkFailed(1, 11, "no more processes", ""),
    Exited(10_000_001, 0),
    Exited(10_000_001, 1 << 20),
    Exited(0, 0),
    Exited(-1, 0),
    FilesChanged(["app.py"]),
    ZygoteForked(10_000_001),
    ZygoteForked(1),
    ZygoteForkFailed(1, "no more processes"),
    Ready(10_000_001, 1, "", 0.0),
    Go(),
]


@pytest.mark.parametrize("said", ZYGOTE_LIES, ids=repr)
def test_a_zygote_is_ended_for_it(family: Family, said: Message) -> None:
    workers = family.system.running(PlayedWorker)
    family.first.say(said)
    family.turn()
    assert any("it is ended" in line for line in family.log.lines), family.log.lines
    assert not family.first.running
    assert well(family)
    assert [one for one in workers if one.running] == workers, "its workers go on"


WORKER_LIES: list[Message] = [Ready(10_000_000, 1, "", 0.0), Go(), Forked(1, 10_000_001, 0), Exited(10_000_001, 0)]


@pytest.mark.parametrize("said", WORKER_LIES, ids=repr)
def test_a_worker_is_ended_for_it(family: Family, said: Message) -> None:
    liar, *others = family.system.running(PlayedWorker)
    liar.guilty = True
    liar.say(said)
    family.turn()
    assert not liar.running
    assert well(family)
    assert all(one.running for one in others)


@pytest.mark.parametrize("who", ["zygote", "worker"])
def test_talk_without_end_is_ended(family: Family, who: str) -> None:
    talker = family.first if who == "zygote" else family.system.running(PlayedWorker)[0]
    for _ in range(60):
        if talker.running:
            talker.say_bytes(b"".join(_framed(Logged("x")) for _ in range(200)))
            family.turn()
    assert not talker.running
    assert any("more in a second than there can be to say" in line for line in family.log.lines)
    assert well(family)


def test_a_zygote_that_does_not_end_when_told_is_killed(family: Family) -> None:
    end = family.first.end
    family.first.end = lambda status: end(status) if status else None  # type: ignore[method-assign]
    family.signal(signal.SIGHUP)
    assert well(family)
    for _ in range(50):
        family.pass_time(1.0)
        family.behave(3)
    assert any("has not ended 30 s after its last worker" in line for line in family.log.lines), family.log.lines
    assert not family.first.running


def _framed(message: Message) -> bytes:
    data = json.dumps({**vars(message), "kind": type(message).__name__}).encode()
    return struct.pack("!I", len(data)) + data


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({"kind": "Loaded", "pid": 5, "generation": 1, "policy": {"a": float("nan")}, "notes": []}, "NaN is no number"),
        ({"kind": "Loaded", "pid": 5, "generation": 1, "policy": {"a": [1, 10**30]}, "notes": []}, "out of range"),
        ({"kind": "Loaded", "pid": 5, "generation": 1, "policy": {}, "notes": [7]}, "not a list of texts"),
        ({"kind": "FilesChanged", "paths": [["x"]]}, "not a list of texts"),
        ({"kind": "Goodbye", "reason": "x", "cut": float("inf")}, "Infinity is no number"),
        ({"kind": "Heir", "pid": 5, "facts": {"prepare_s": 10**400}}, "out of range"),
    ],
)
def test_numbers_and_texts_are_checked_however_deep(record: dict[str, object], why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        decode(json.dumps(record).encode(), "somebody")


def test_whole_messages_are_decoded() -> None:
    assert decode(_framed(Accepting())[4:], "somebody") == Accepting()
