"""What is printed as JSON lines."""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest

from aeros.core.log.spoken import Spoken


class Printed:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND)
        self.stream = Spoken("stderr", self._fd, sys.__stderr__)

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._path.read_bytes().splitlines()]

    def messages(self) -> list[str]:
        return [record["message"] for record in self.records()]


@pytest.fixture
def printed(tmp_path: Path) -> Printed:
    return Printed(tmp_path / "out")


def test_a_print_is_a_record(printed: Printed) -> None:
    print("one", 2, file=printed.stream)
    print("half", end="", file=printed.stream)
    assert printed.messages() == ["one 2"]
    print(" whole\x1b[31m \ud800", file=printed.stream)
    assert printed.messages() == ["one 2", "half whole\x1b[31m \\ud800"]
    assert printed.records()[0].keys() == {"time", "level", "logger", "pid", "message"}


def test_a_traceback_is_one_record_though_it_comes_in_many_writes(printed: Printed) -> None:
    try:
        raise LookupError("gone")
    except LookupError:
        traceback.print_exc(file=printed.stream)
    print("after", file=printed.stream)
    first, second = printed.records()
    assert (first["level"], first["message"]) == ("error", "LookupError: gone")
    assert first["exception"].startswith("Traceback (most recent call last):\n")
    assert second["message"] == "after"


def test_a_json_line_of_the_apps_own_passes_as_it_is(printed: Printed) -> None:
    print('{"mine": 1}', file=printed.stream)
    print("{no object}", file=printed.stream)
    own, wrapped = printed.records()
    assert own == {"mine": 1}
    assert wrapped["message"] == "{no object}"


def test_what_has_no_end_is_written_at_a_flush_and_at_the_end(printed: Printed) -> None:
    print("...", end="", flush=True, file=printed.stream)
    print("rest", end="", file=printed.stream)
    printed.stream.end()
    assert printed.messages() == ["...", "rest"]
    printed.stream.write("x" * 200_000)
    assert len(printed.messages()[-1]) == 200_000
