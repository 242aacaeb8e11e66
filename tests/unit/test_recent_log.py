"""The latest lines of the log: bounded in number and size, and whoever is slow is told what it missed."""

from __future__ import annotations

from typing import Any

from aeros.core.ipc.messages import MAX_MESSAGE_BYTES, Answer, encode
from aeros.supervisor.state.recent_log import MOST_BYTES, MOST_EVENTS, RecentLog


def asked(log: RecentLog, after: int | None = None, most: int | None = None, *, wait: bool = False) -> list[Any]:
    answers: list[Any] = []
    log.ask(after, most, wait, answers.append)
    return answers


def test_it_keeps_the_latest() -> None:
    log = RecentLog()
    for number in range(MOST_EVENTS + 5):
        log.add(f"event {number}\n")
    (answer,) = asked(log)
    assert len(answer["lines"]) == MOST_EVENTS
    assert (answer["lines"][0], answer["last"], answer["missed"]) == ("event 5", MOST_EVENTS + 5, 0)
    (answer,) = asked(log, most=2)
    assert answer["lines"] == [f"event {MOST_EVENTS + 3}", f"event {MOST_EVENTS + 4}"]
    assert asked(log, most=0)[0]["lines"] == []


def test_who_is_slow_misses_some_and_is_told() -> None:
    log = RecentLog()
    log.add("first")
    assert asked(log, 1, wait=True) == []
    for number in range(MOST_EVENTS + 5):
        log.add(str(number))
    (answer,) = asked(log, 1, wait=True)
    assert (len(answer["lines"]), answer["missed"]) == (MOST_EVENTS, 5)


def test_who_waits_gets_what_comes() -> None:
    log = RecentLog()
    log.add("one")
    answers = asked(log, 1, wait=True)
    assert answers == []
    log.add("\x1b[31mtwo\x1b[0m\n    its traceback\n")
    assert answers == [{"lines": ["two\n    its traceback"], "last": 2, "missed": 0}]
    log.add("three")
    assert len(answers) == 1  # asked once, answered once
    waiting = asked(log, 3, wait=True)
    log.release()
    assert waiting == [{"lines": [], "last": 3, "missed": 0}]


def test_too_many_who_wait_are_let_go() -> None:
    log = RecentLog()
    log.add("one")
    waiting = [asked(log, 1, wait=True) for _ in range(200)]
    assert sum(map(bool, waiting)) == 200 - 128
    assert waiting[0] and not waiting[-1]


def test_an_answer_always_fits_into_a_message() -> None:
    log = RecentLog()
    for _ in range(50):
        log.add("\x00\U0001f600" * 100_000)
    (answer,) = asked(log)
    assert len(encode(Answer(1, "", "", "", answer))) < MAX_MESSAGE_BYTES
    assert sum(map(len, answer["lines"])) <= MOST_BYTES
    assert answer["lines"]
