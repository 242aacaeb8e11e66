"""No text of others makes a second line, an escape sequence, or JSON that is none, wherever it is written."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from aeros.cli import doctor
from aeros.cli import tables as console
from aeros.core.log.lines import LineLog
from aeros.core.text import continuation, json_text, one_line, quoted, several_lines
from aeros.status.requests import RequestInFlight
from aeros.status.stacks import Stack, WorkerStacks
from aeros.supervisor.control.systemd import _short
from aeros.supervisor.state.recent_log import RecentLog
from aeros.titles import program_label
from aeros.worker.report.access_log import Atoms
from aeros.worker.report.log_files import WholeLineHandler, _JSONFormatter, _TextFormatter

#: All of Unicode, with the halves of surrogate pairs; and more often what is dangerous.
WILD = st.text(
    st.one_of(
        st.characters(codec=None),
        st.sampled_from(
            "\n\r\t\x0b\x0c\x1b\x1c\x1d\x1e\x85\x9b\x7f\0\u2028\u2029\u202e\u2066\ud800\udc9b\"\\['ab %{}$"
        ),
    )
)
DANGEROUS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
FORGED = "x\n2026-01-01 00:00:00.000 [critical] aeros: forged\x1b[31m\x9b31m\u2028\u202e\ud800\r\x85"


def assert_safe(text: str, *, lines: int = 1, tabs: bool = False) -> None:
    """Fail unless it is so many lines, by every definition of a line, and steers nothing."""
    shown = text.removesuffix("\n")
    parts = shown.split("\n")
    assert len(parts) == lines, text
    for part in parts:
        assert not DANGEROUS.search(part.replace("\t", "") if tabs else part), ascii(part)
        assert len(part.splitlines()) <= 1
        part.encode()


@given(WILD)
def test_one_line(text: str) -> None:
    assert_safe(one_line(text))
    assert_safe(quoted(text))
    assert '"' not in quoted(text)
    if text.isascii() and text.isprintable():
        assert one_line(text) == text
    lines = several_lines(text)
    assert_safe(lines, lines=text.removesuffix("\n").count("\n") + 1, tabs=True)
    assert all(line.startswith("    ") for line in continuation(text).removesuffix("\n").split("\n"))


def test_what_is_harmless_stays_as_it_is() -> None:
    for text in ("Grüße, 世界! 👩\u200d💻 é\u0301", "a\u00a0b", "مرحبا שלום", "c:\\x 'y' \"z\""):
        assert one_line(text) == text == several_lines(text)
    assert several_lines("a\tb\nc") == "a\tb\nc"
    assert quoted('a"b\\c') == "a\\x22b\\x5cc"
    assert one_line("\x1b[31m\n\u2028\udc9b\ud800\U000e0041") == "\\x1b[31m\\x0a\\u2028\\x9b\\ud800\\U000e0041"


def test_all_that_separates_lines_or_hides_is_known() -> None:
    """Every character that is a control, a surrogate or a separator of lines, by Unicode's own table."""
    for number in range(0x110000):
        char = chr(number)
        bad = unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(char) in (
            *("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"),
        )
        if bad:
            assert char not in one_line(f"a{char}b"), hex(number)


@given(
    st.recursive(
        st.one_of(WILD, st.floats(), st.integers(), st.none(), st.booleans()),
        lambda x: st.lists(x, max_size=4) | st.dictionaries(WILD, x, max_size=4),
        max_leaves=12,
    )
)
def test_json_is_json_whatever_is_in_it(value: Any) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    text = json_text({"value": value})
    assert_safe(text)
    assert text.isascii()
    json.dumps(json.loads(text, parse_constant=refuse), ensure_ascii=False).encode()  # no lone surrogate


@pytest.mark.parametrize("log_format", ["text", "json"])
@settings(deadline=None)
@given(text=WILD, traceback=WILD)
def test_the_servers_log(tmp_path_factory: pytest.TempPathFactory, log_format: Any, text: str, traceback: str) -> None:
    path = Path(tmp_path_factory.getbasetemp()) / f"log-{os.getpid()}"
    path.unlink(missing_ok=True)
    recent = RecentLog()
    log = LineLog(str(path), log_format=log_format)
    log.tap = recent.add
    log.error(text, traceback=traceback)
    log.close()
    written = path.read_bytes().decode()
    if log_format == "json":
        assert_safe(written)
        json.loads(written)
    else:
        first, *rest = written.removesuffix("\n").split("\n")
        assert_safe(first)
        for line in rest:
            assert_safe(line, tabs=True)
            assert line.startswith("    ")
    answers: list[dict[str, Any]] = []
    recent.ask(None, None, False, answers.append)
    for line in "\n".join(answers[0]["lines"]).split("\n"):
        assert_safe(line, tabs=True)


@given(WILD)
def test_what_a_worker_sends_to_be_kept(text: str) -> None:
    recent = RecentLog()
    recent.add(text)
    answers: list[dict[str, Any]] = []
    recent.ask(None, None, False, answers.append)
    for line in "\n".join(answers[0]["lines"]).split("\n"):
        assert_safe(line, tabs=True)


FORMAT = '%(h)s "%(r)s" %(R)s %(m)s %(U)s %(Uq)s %(q)s %(s)s "%(f)s" "%(a)s" %({x}i)s %({y}o)s %(H)s %(S)s'


@given(WILD, WILD, st.binary(), st.binary(), st.binary(), WILD)
def test_an_access_line(method: str, path: str, query: bytes, agent: bytes, value: bytes, client: str) -> None:
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "query_string": query,
        "headers": [(b"user-agent", agent), (b"referer", value), (b"x", value), (b"x-request-id", agent)],
        "client": (client, 1),
    }
    atoms = Atoms(scope, {"status": 200, "headers": [(b"y", value), (b"content-length", value)]}, 0.1)
    record = logging.LogRecord("hypercorn.access", 20, "x", 1, FORMAT, (atoms,), None)
    line = _TextFormatter("%(message)s").format(record)
    assert_safe(line)
    assert line.count('"') == 6, "no field in quotes ends before its end"
    line = _JSONFormatter(0, 1).format(record)
    assert_safe(line)
    assert json.loads(line)["status"] == 200


@given(WILD, WILD)
def test_what_an_app_logs(message: str, reason: str) -> None:
    try:
        raise ValueError(reason)
    except ValueError as error:
        record = logging.LogRecord("app", 40, "x", 1, message.replace("%", "%%"), (), (ValueError, error, None))
    first, *rest = _TextFormatter("%(message)s").format(record).split("\n")
    assert_safe(first)
    for line in rest:
        assert_safe(line, tabs=True)
        assert line.startswith("    ")
    line = _JSONFormatter(0, 1).format(record)
    assert_safe(line)
    json.loads(line)


@given(WILD)
def test_terminals_titles_and_systemd(text: str) -> None:
    request = RequestInFlight(0, 1, 1, text, text, False, 1.0, text, text, text)
    assert_safe(console.render_requests([request], 1, 0), lines=2)
    stacks = WorkerStacks(0, 1, 1, "worker", text, (Stack(text, (text,), text),), (Stack(text, (text,), text),), 0)
    for line in several_lines(str(stacks)).split("\n"):
        assert_safe(line, tabs=True)
    assert_safe(program_label(text or "x", "x"))
    assert_safe(_short(text))


@pytest.fixture
def handler(tmp_path: Path) -> Iterator[WholeLineHandler]:
    found = WholeLineHandler(str(tmp_path / "log"), 2)
    yield found
    found.close()


def test_lone_surrogates_lose_no_line(handler: WholeLineHandler, tmp_path: Path) -> None:
    handler.setFormatter(_TextFormatter("%(message)s"))
    handler.emit(logging.LogRecord("x", 20, "x", 1, FORGED, (), None))
    assert_safe((tmp_path / "log").read_text())


def test_findings_and_the_screen() -> None:
    found = doctor.render([doctor.Finding(FORGED, "warning", FORGED)])
    for line in several_lines(found).split("\n"):
        assert_safe(line)
    screen = Console(file=io.StringIO(), width=300)
    screen.print(one_line(FORGED), markup=False)
    assert_safe(screen.file.getvalue())  # type: ignore[attr-defined]
