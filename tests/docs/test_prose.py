"""Plain English, as far as patterns can tell: short sentences, no words that have to be read twice."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .blocks import PAGES, ROOT

LONGEST = 27  # words in a sentence
AVOID = re.compile(
    r"\b(whoever|somebody|the like|without a word|peace|means now|of its own accord|for ever|lest|let go of|"
    r"simply|just|easy|easily|obviously|please|beside this|whereby|thereof)\b",
    re.IGNORECASE,
)
BEGINS_BADLY = re.compile(r"(Of|Should|Being|Were|Not) ")


def prose(page: Path) -> str:
    """The page's sentences, without its head, blocks and code."""
    text = re.sub(r"\A---.*?^---|^ *```.*?^ *```|<!--.*?-->", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"`[^`]*`", "CODE", text)


def sentences(text: str) -> list[str]:
    found: list[str] = []
    for paragraph in re.split(r"\n\s*\n|\n(?=[-|#\d])", text):
        for cell in paragraph.strip("| ").split("|") if paragraph.lstrip().startswith("|") else [paragraph]:
            found += re.split(r"(?<=[.!?])\s+", " ".join(cell.strip("# -").split()))
    return [sentence for sentence in found if sentence]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT / "docs").as_posix())
def test_the_page_is_in_plain_english(page: Path) -> None:
    text = prose(page)
    assert not AVOID.findall(text)
    for sentence in sentences(text):
        assert len(sentence.split()) <= LONGEST, sentence
        assert not BEGINS_BADLY.match(sentence), sentence
        assert ";" not in sentence or "CODE" in sentence, sentence
