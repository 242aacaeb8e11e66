"""The text of --faults, and the dice thrown by it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from aeros.core.faults import Dice, parse
from aeros.core.ipc.channel import channel_pair
from aeros.core.ipc.messages import ForkZygote, Retire
from aeros.core.log.lines import LineLog


def test_a_plan_names_calls_errors_chances_and_a_seed() -> None:
    plan = parse("fork=EAGAIN:0.01, pipe=EMFILE,seed=7")
    assert plan.chances == (("fork", errno.EAGAIN, 0.01), ("pipe", errno.EMFILE, 1.0))
    assert plan.seed == 7
    assert parse(str(plan)) == plan


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("frok=EAGAIN", "frok"),
        ("fork", "errno"),
        ("fork=OFTEN:0.1", "OFTEN"),
        ("fork=EAGAIN:2", "'2'"),
        ("fork=EAGAIN:0", "'0'"),
        ("fork=EAGAIN:x", "'x'"),
        ("fork=EAGAIN,seed=x", "seed"),
        ("seed=3", "at least one call"),
        ("", "at least one call"),
    ],
)
def test_what_is_wrong_is_named(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=r"^must ") as caught:
        parse(text)
    assert told in str(caught.value)


def outcomes(dice: Dice, times: int = 200) -> list[bool]:
    pipe = dice.loaded("pipe", lambda: True)
    seen = []
    for _ in range(times):
        try:
            seen.append(pipe())
        except OSError as error:
            assert error.errno == errno.EMFILE
            seen.append(False)
    return seen


def test_the_same_seed_and_role_decide_the_same_and_about_as_often_as_asked() -> None:
    plan = parse("pipe=EMFILE:0.3,seed=11")
    first = outcomes(Dice(plan, "supervisor"))
    assert first == outcomes(Dice(plan, "supervisor"))
    assert first != outcomes(Dice(plan, "zygote"))
    assert 30 < first.count(False) < 90


def test_only_what_goes_through_the_faulty_system_fails_and_nothing_once_it_is_left() -> None:
    from aeros.supervisor.system.faulty import FaultySystem

    system = FaultySystem(parse("fork=EAGAIN,socketpair=EMFILE,memfd=ENOMEM,pidfd=EMFILE,kill=EPERM"), "supervisor")
    with pytest.raises(BlockingIOError, match="on purpose"):
        system.fork()
    with pytest.raises(OSError, match="on purpose"):
        system.channel_pair("nobody")
    with pytest.raises(OSError, match="on purpose"):
        system.memory_file(lambda: 0)
    assert system.open_pidfd(os.getpid()) is None
    with pytest.raises(PermissionError, match="on purpose"):
        system.send_signal(os.getpid(), 0, 0)
    ours, theirs = channel_pair("somebody")  # the app's own calls are real
    ours.close()
    theirs.close()
    system.leave()
    ours, theirs = system.channel_pair("somebody")
    ours.close()
    theirs.close()


def test_the_log_is_opened_and_written_through_the_system(tmp_path: Path) -> None:
    from aeros.supervisor.system.faulty import FaultySystem

    path = tmp_path / "log"
    log = LineLog(str(path))
    system = FaultySystem(parse("open=EACCES,write=ENOSPC"), "supervisor")
    system.attach(log)
    log.info("kept until there is room")
    with pytest.raises(PermissionError, match="on purpose"):
        log.reopen()
    assert not path.read_text()
    system.leave()
    log.flush()
    assert "kept until there is room" in path.read_text()
    log.reopen()
    log.close()


def test_a_copy_that_has_to_wait_can_fail() -> None:
    from aeros.supervisor.system.faulty import FaultySystem

    channel, theirs = FaultySystem(parse("dup=EMFILE"), "supervisor").channel_pair("one that does not read")
    with theirs, open(os.devnull) as file:  # noqa: PTH123
        channel.send(Retire("x" * 500_000, 1.0, 1.0))
        assert channel.pending
        with pytest.raises(OSError, match="on purpose"):
            channel.send(ForkZygote(2), [file.fileno()])
    channel.close()
