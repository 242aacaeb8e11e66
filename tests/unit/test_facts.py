"""What another process says is taken with its type and within its bounds."""

from __future__ import annotations

import math

import pytest

from aeros.core.ipc.facts import indexes, line, lines, number, whole


@pytest.mark.parametrize(
    ("said", "found"),
    [(5, 5), (2.5, 2.5), (-1, 0), (10**18, 60), (True, 7), ("5", 7), (None, 7), ([], 7), (math.nan, 0), (math.inf, 60)],
)
def test_numbers(said: object, found: float) -> None:
    assert number({"a": said}, "a", 7, most=60) == found


def test_a_number_that_is_not_said() -> None:
    assert number({}, "a", 7, most=60) == 7


@pytest.mark.parametrize(
    ("said", "found"), [(0, 0), (3, 3), (9, 9), (10, 0), (-1, 0), (2.0, 0), (True, 0), ("3", 0), (None, 0)]
)
def test_whole_numbers(said: object, found: int) -> None:
    assert whole({"a": said}, "a", most=9) == found


def test_indexes() -> None:
    assert indexes({"kept": [2, 0, 0]}, "kept", 3) == {0, 2}
    assert indexes({}, "kept", 3) == set()
    for said in ([3], [-1], [True], [0.0], ["0"], [None], [[]], "0", 0, {"0": 0}, None):
        with pytest.raises(ValueError, match="kept is to name some of 3"):
            indexes({"kept": said}, "kept", 3)


def test_texts_show_what_a_terminal_would_obey() -> None:
    said = {"a": "x\x1b[2J\r\ny\u2028z\x9b1m\x7f\ud800é\t"}
    assert line(said, "a") == r"x\x1b[2J\x0d\x0ay\u2028z\x9b1m\x7f\ud800é\x09"
    assert lines(said, "a") == "x\\x1b[2J\\x0d\ny\\u2028z\\x9b1m\\x7f\\ud800é\t"
    assert len(line({"a": "x" * 10_000}, "a", 40)) < 120
    assert "\n" not in line({"a": "x" * 10_000}, "a", 40)
    assert len(lines({"a": "x\n" * 500_000}, "a")) < 70_000
    for nothing in ({}, {"a": None}, {"a": 5}, {"a": ["x"]}):
        assert (line(nothing, "a"), lines(nothing, "a")) == ("", "")
