"""The pages, played: their files written, their commands typed, their outputs compared (scripts/docs test)."""

from __future__ import annotations

from pathlib import Path

import pytest

from .blocks import PAGES, ROOT
from .play import play

QUICK = ("README.md", "start/production.md", "how-to/nginx.md", "how-to/logs.md", "migrate/gunicorn.md")


README = ROOT / "README.md"


def of_page(page: Path) -> str:
    return "README.md" if page == README else page.relative_to(ROOT / "docs").as_posix()


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=() if of_page(page) in QUICK else pytest.mark.slow) for page in (README, *PAGES)],
    ids=of_page,
)
def test_the_page_shows_what_happens(page: Path) -> None:
    complaints = play(page)
    assert not complaints, "\n\n".join(complaints)
