"""llms.txt: one line for each page; llms-full.txt: all pages; and each page's Markdown beside its HTML."""

import re
import shutil
import tomllib
from pathlib import Path


def index(docs: Path) -> str:
    """Return the text of llms.txt, in the order of the navigation."""
    config = tomllib.loads((docs.parent / "zensical.toml").read_text())
    lines = ["# Aeros", "", f"> {config['project']['site_description']}", ""]
    for section in config["project"]["nav"]:
        ((title, entries),) = section.items()
        lines += [f"## {title}", "", *_entries(entries, docs), ""]
    return "\n".join(lines)


def _entries(entries: object, docs: Path) -> list[str]:
    if isinstance(entries, str):
        title, description = _about((docs / entries).read_text())
        return [f"- [{title}]({entries}): {description}" if description else f"- [{title}]({entries})"]
    if isinstance(entries, dict):
        entries = list(entries.values())
    assert isinstance(entries, list)
    return [line for entry in entries for line in _entries(entry, docs)]


def _about(text: str) -> tuple[str, str]:
    """Return a page's title and description."""
    front = dict(re.findall(r"^(title|description): \"?(.+?)\"?$", text.partition("\n---\n")[0], re.MULTILINE))
    heading = re.search(r"^# (.+)$", text, re.MULTILINE)
    return front.get("title") or (heading[1] if heading else "?"), front.get("description", "")


def write(docs: Path, site: Path) -> None:
    (site / "llms.txt").write_text(index(docs))
    pages = re.findall(r"\]\(([\w/.-]+\.md)\)", index(docs))
    (site / "llms-full.txt").write_text("\n\n".join((docs / page).read_text() for page in pages))
    for page in pages:
        shutil.copy(docs / page, site / page)
