"""The documents name what exists: links resolve, tables are current, every option, field and line has its place."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

import aeros
from aeros.core.exitcodes import ExitCode
from aeros.core.ipc import messages
from aeros.options.table import OPTIONS
from aeros.server import Server
from aeros.status import latency, stacks
from aeros.status import records as status
from aeros.status import requests as inflight

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
REFERENCE = (ROOT / "docs/reference.md").read_text()
RECORDS = (
    status.ServerStatus,
    status.WorkerStatus,
    status.SlotStatus,
    status.LastExit,
    status.Reloaded,
    status.Totals,
    status.AcceptQueue,
    latency.LatencyHistogram,
    inflight.RequestInFlight,
    stacks.WorkerStacks,
    stacks.Stack,
)


def prose(text: str) -> str:
    """The document without its blocks of code."""
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """What GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", prose(document.read_text()))
    for link in links:
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.exists(), f"{document.name}: {link} leads nowhere"
        if anchor:
            assert anchor in anchors(target.read_text()), f"{document.name}: {link}: no such heading"


def test_no_page_shows_another_version() -> None:
    pages = [ROOT / "README.md", *ROOT.glob("docs/start/*.md"), *ROOT.glob("docs/how-to/*.md")]
    shown = {version for page in pages for version in re.findall(r"\b[Aa]eros (\d+\.\d+\.\d+)", page.read_text())}
    assert shown == {aeros.__version__}


def test_the_generated_parts_are_current() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/reference"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_option_has_its_row() -> None:
    missing = [option.name for option in OPTIONS if f"\n| `{option.name}` |" not in REFERENCE]
    assert not missing


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_field_of_the_status_is_explained(record: type) -> None:
    section = REFERENCE.partition(f"\n### {record.__name__}\n")[2].partition("\n#")[0]
    assert section, "no section of that name"
    missing = [field.name for field in dataclasses.fields(record) if f"`{field.name}`" not in section]
    assert not missing


def test_every_member_of_the_handle_is_explained() -> None:
    section = REFERENCE.partition("\n### Server\n")[2].partition("\n### ")[0]
    members = {name for name in vars(Server) if not name.startswith("_")} | {"pid"}
    assert not [name for name in members if f"`{name}`" not in section and f"`{name}(" not in section]


def test_every_public_name_is_mentioned() -> None:
    missing = [name for name in aeros.__all__ if name not in REFERENCE and not name.startswith("_")]
    assert not [name for name in missing if name != "WorkerInfo"]
    assert "WorkerInfo" in (ROOT / "docs/guide.md").read_text()


def test_every_exit_code_is_explained() -> None:
    section = REFERENCE.partition("\n## Exit codes\n")[2].partition("\n## ")[0]
    assert not [code for code in ExitCode if f"\n| {code.value} | " not in section]


def test_every_message_is_in_the_architecture() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    kinds = [kind.__name__ for kind in vars(messages).values() if isinstance(kind, type)]
    known = [name for name in kinds if issubclass(getattr(messages, name), messages.Message) and name != "Message"]
    assert len(known) > 10
    assert not [name for name in known if f"`{name}`" not in text]


def test_the_examples_in_the_guide_compile() -> None:
    guide = (ROOT / "docs/guide.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", guide, re.DOTALL | re.MULTILINE)
    assert len(blocks) > 5
    for block in blocks:
        compile(block, "guide.md", "exec")


def test_the_guide_shows_the_background_example_as_it_is() -> None:
    guide = (ROOT / "docs/guide.md").read_text()
    example = (ROOT / "examples/background.py").read_text()
    body = example.partition("def main() -> None:\n")[2].partition("\n\n\n")[0]
    shown = "\n".join(line.removeprefix("    ") for line in body.splitlines())
    assert shown in guide
