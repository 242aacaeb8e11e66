"""Durations, sizes and counts: what is read, what is refused, and that what is written is read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aeros.options.units import (
    LONGEST_S,
    BadValueError,
    format_duration,
    format_size,
    or_none,
    parse_duration,
    parse_size,
    switch,
    whole,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30.0),
        ("30s", 30.0),
        ("5m", 300.0),
        ("5ms", 0.005),
        ("1h30m", 5400.0),
        ("1h 30m", 5400.0),
        ("1d", 86400.0),
        ("1m250ms", 60.25),
        ("1s100ms", 1.1),
        ("1.5s", 1.5),
        (" 2.5 ", 2.5),
        ("1H", 3600.0),
        ("0", 0.0),
        (3, 3.0),
        (0.25, 0.25),
    ],
)
def test_durations_read(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "bad",
    [
        *(
            "",
            " ",
            "s",
            "-1",
            "-1s",
            "1x",
            "1s2h",
            "1s1s",
            "1e3",
            "nan",
            "inf",
            "1,5",
            "٣",
            "400d",
            "9" * 40,
            None,
        ),
        *(True, -1, float("nan"), float("inf"), 10**400, b"30", [30]),
    ],
)
def test_durations_refused(bad: object) -> None:
    with pytest.raises(BadValueError, match="such as 30s"):
        parse_duration(bad)


@given(st.integers(0, int(LONGEST_S) * 1_000_000))
def test_a_duration_reads_back_as_written(micros: int) -> None:
    seconds = round(micros / 1_000_000, 6)
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=1e-6)


@given(st.floats(0, LONGEST_S))
def test_plain_seconds_are_themselves(seconds: float) -> None:
    assert parse_duration(seconds) == seconds


@given(st.text(max_size=20) | st.from_regex(r"[0-9.]*[dhms]*[0-9]*[ms]*", fullmatch=True))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    try:
        assert 0 <= parse_duration(text) <= LONGEST_S
    except BadValueError:
        pass


def test_durations_are_written_short() -> None:
    written = [format_duration(seconds) for seconds in (0, 90, 30.0, 0.25, 0.0015, 86400, 3661.5)]
    assert written == ["0s", "1m30s", "30s", "250ms", "1.5ms", "1d", "1h1m1s500ms"]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4096", 4096),
        (4096, 4096),
        ("64K", 64 << 10),
        ("512M", 512 << 20),
        ("512mb", 512 << 20),
        ("512MiB", 512 << 20),
        ("1.5G", 3 << 29),
        ("2 T", 2 << 40),
        ("100B", 100),
    ],
)
def test_sizes_read(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("bad", ["", "M", "-1", "1.5", "5X", "1e9", "9" * 30, True, 2.5, -1, None, 1 << 70])
def test_sizes_refused(bad: object) -> None:
    with pytest.raises(BadValueError, match="such as 512M"):
        parse_size(bad)


@given(st.integers(0, (1 << 59) - 1))
def test_a_size_reads_back_as_written(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.text(max_size=12))
def test_any_text_is_a_size_or_refused(text: str) -> None:
    try:
        assert parse_size(text) >= 0
    except BadValueError:
        pass


@pytest.mark.parametrize("bad", [True, False, 2.5, "2.5", "", "two", None, 0, 6, "٣", "9" * 5000, [2]])
def test_whole_numbers_refused(bad: object) -> None:
    with pytest.raises(BadValueError, match="whole number from 1 to 5"):
        whole(1, 5)(bad)


def test_whole_numbers_read() -> None:
    assert [whole(1, 5)(value) for value in (1, "5", " 3 ", "+2")] == [1, 5, 3, 2]


def test_switches() -> None:
    assert [switch(value) for value in (True, "1", "Yes", "on", "TRUE")] == [True] * 5
    assert [switch(value) for value in (False, "0", "no", "off")] == [False] * 4
    for bad in (1, 0, None, "", "maybe"):
        with pytest.raises(BadValueError):
            switch(bad)


def test_off_is_none() -> None:
    convert = or_none(whole(1, 5), zero=True)
    assert [convert(value) for value in (None, "none", "OFF", 0, "0", "3", 3)] == [None] * 5 + [3, 3]
    for bad in (False, True, -1):
        with pytest.raises(BadValueError):
            convert(bad)
    with pytest.raises(BadValueError):
        or_none(whole(1, 5))(0)
