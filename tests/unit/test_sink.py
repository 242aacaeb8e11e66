"""Lines on their way out: never waiting, whole, counted where lost; storms counted instead of written."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from aeros.core.log.lines import LineLog
from aeros.core.log.sink import WAITING_BYTES, Sink
from aeros.core.log.storms import MOST, WINDOW_S, Storms

LINE = b"x" * 99 + b"\n"


def read_all(fd: int) -> bytes:
    os.set_blocking(fd, False)
    found = b""
    while True:
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return found
        found += data


@pytest.mark.parametrize("kind", ["own", "polled", "socket"])
def test_a_reader_that_does_not_read_holds_nobody_up(kind: str) -> None:
    if kind == "socket":
        ours, theirs = (end.detach() for end in socket.socketpair())
    else:
        theirs, ours = os.pipe()
    try:
        sink = Sink(ours)
        assert sink._kind == ("own" if kind == "polled" else kind)
        sink._kind = kind
        for _ in range(20_000):  # 2 MB: more than the pipe and what may wait
            sink.write(LINE)
        assert os.get_blocking(ours), "the descriptor is the program's, too"
        assert 0 < sink.waiting <= WAITING_BYTES
        lost = sink.lost
        assert lost > 1000
        got = read_all(theirs)
        while not sink.flush():
            got += read_all(theirs)
        got += read_all(theirs)
        assert got == LINE * (20_000 - lost)
        sink.write(LINE)
        assert read_all(theirs) == LINE
        sink.close()
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_reader_that_has_left_costs_lines_only() -> None:
    reader, writer = os.pipe()
    sink = Sink(writer)
    os.close(reader)
    sink.write(LINE)
    sink.write(LINE)
    assert (sink.lost, sink.waiting) == (2, 0)
    sink.close()
    os.close(writer)


def test_lost_lines_are_told_when_there_is_room_again(tmp_path: Path) -> None:
    log = LineLog(str(tmp_path / "log"))
    assert log._sink is not None
    log._sink.lost = 7
    log.flush()
    log.flush()
    log.close()
    assert (tmp_path / "log").read_text().count("7 log lines were lost") == 1


def test_a_storm_is_written_a_few_times_and_then_counted() -> None:
    storms = Storms()
    written = sum(storms.admits("error", f"worker slot={n} pid={n * 7} died after {n}.5 s", 0.0) for n in range(500))
    assert written == MOST["error"]
    assert storms.admits("error", "something else", 1.0)
    assert storms.admits("warning", "worker slot=1 pid=7 died after 1.5 s", 1.0)
    assert storms.summaries(WINDOW_S - 0.1) == []
    ((level, text),) = storms.summaries(WINDOW_S)
    assert level == "error"
    assert text == f"{500 - MOST['error']} more like this within 10 s: worker slot=499 pid=3493 died after 499.5 s"
    assert storms.admits("error", "worker slot=1 pid=1 died after 1.5 s", WINDOW_S + 1)
    for n in range(10_000):
        storms.admits("info", f"kind {'abcdefghij'[n % 10]}{chr(97 + n % 26) * (n % 50)}", WINDOW_S)
    assert len(storms._events) <= 256
