"""The built site, opened from its files in Chromium without a network: each search leads to its page."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.chromium import Page, browser

from .blocks import ROOT
from .test_searches import SEARCHES

SITE = ROOT / ".site/site"
# The links of the results stand in shadow roots.
RESULTS = """(() => {
  const links = [];
  const walk = (node) => { for (const each of node.querySelectorAll('*')) {
    if (each.shadowRoot) walk(each.shadowRoot);
    if (each.tagName === 'A' && /[?&]h=/.test(each.href)) links.push(each.href.split('/.site/site/')[1]);
  } };
  walk(document);
  return JSON.stringify(links.slice(0, 9));
})()"""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    chromium = shutil.which("chromium")
    if chromium is None or importlib.util.find_spec("zensical") is None:
        pytest.skip("needs Chromium, and the extra docs")
    subprocess.run([ROOT / "scripts/docs", "build"], check=True, capture_output=True, env=os.environ)
    with browser(chromium) as found:
        yield found


def ask(page: Page, query: str) -> list[str]:
    """Type a query; return the pages of the first results, none where there is no answer within some seconds."""
    page.open(f"file://{SITE}/index.html", 1280, 900)
    for attempt in range(8):  # the page takes its keys from a moment after it was loaded on
        time.sleep(1 + attempt / 5)
        for kind in ("keyDown", "keyUp"):
            page.ask("Input.dispatchKeyEvent", type=kind, modifiers=2, key="k", code="KeyK", windowsVirtualKeyCode=75)
        time.sleep(0.4)
        page.ask("Input.insertText", text=query)
        until = time.monotonic() + 3
        while time.monotonic() < until:
            if json.loads(page.value(RESULTS)):
                time.sleep(0.3)  # the rest of them
                links = json.loads(page.value(RESULTS))
                return list(dict.fromkeys(Path(link.partition(".html")[0]).as_posix() for link in links))[:3]
            time.sleep(0.1)
        page.open(f"file://{SITE}/index.html", 1280, 900)
    return []


@pytest.mark.slow
@pytest.mark.limit_s(600)
def test_each_search_leads_to_its_page(page: Page) -> None:
    wrong = {}
    for query, wanted in SEARCHES.items():
        found = ask(page, query)
        if wanted not in found:
            wrong[query] = found
    assert not wrong
    assert not page.complaints
