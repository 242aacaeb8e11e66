"""The text of --faults, and the dice thrown by it."""

from __future__ import annotations

import errno
import os

import pytest

from aeros.core.faults import Dice, parse


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


def test_armed_only_where_aeros_itself_calls_and_put_back_afterwards() -> None:
    from aeros.core.ipc import channel
    from aeros.core.process import signalling as process
    from aeros.supervisor.model.rim import Rim

    rim = Rim(parse("fork=EAGAIN,socketpair=EMFILE,dup=EMFILE"), "supervisor")
    before = (channel.os, channel.socket, process.os)
    rim.arm()
    try:
        with pytest.raises(BlockingIOError):
            process.fork()
        with pytest.raises(OSError, match="on purpose"):
            channel.channel_pair("nobody")
        os.close(os.dup(0))  # the app's own calls are real
    finally:
        rim.disarm()
    assert before == (channel.os, channel.socket, process.os)
