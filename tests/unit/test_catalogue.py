"""The catalogue of faults names tests that exist, or says why there is none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.faults.catalogue import CATALOGUE, Entry

TESTS = Path(__file__).resolve().parents[1]


def test_every_number_has_its_entry() -> None:
    assert [entry.number for entry in CATALOGUE] == list(range(1, 64))


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: str(entry.number))
def test_each_entry_has_a_test_that_exists_or_a_reason(entry: Entry) -> None:
    assert bool(entry.tests) != bool(entry.why_not)
    for named in entry.tests:
        file, _, function = named.partition("::")
        text = (TESTS / file).read_text()
        assert re.search(rf"^(async )?(def |class )?{function}\b", text, re.MULTILINE), named
