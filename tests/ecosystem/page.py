"""The tables of docs/tools.md, from the cases and what became of them."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.ecosystem.cases import GROUPS
from tests.ecosystem.trial import Case

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tools.md"
BEGIN, END = "<!-- generated: tools -->", "<!-- end: tools -->"


def write(results: Mapping[str, bool], python: Path) -> None:
    """Put what was found between the marks in docs/tools.md."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{_tables(results, _versions(python))}\n{END}{after}")


def _tables(results: Mapping[str, bool], versions: Mapping[str, str]) -> str:
    parts = []
    for title, cases in GROUPS.items():
        rows = [_row(case, results[case.name], versions) for case in cases]
        parts += [f"## {title}", "", "| | Tried | What it needs | |", "|---|---|---|---|", *rows, ""]
    return "\n".join(parts).rstrip()


def _row(case: Case, works: bool, versions: Mapping[str, str]) -> str:
    packages = [name.partition("[")[0].lower() for name in case.packages.split()]
    tried = ", ".join(versions[name] for name in packages[:1] if name in versions) or "Python's own"
    needs = case.needs or "nothing"
    return f"| {case.name} | {tried} | {needs if works else 'did not work when it was tried'} | {case.note} |"


def _versions(python: Path) -> dict[str, str]:
    """The installed packages, by their names in lower case."""
    command = [python, "-m", "pip", "list", "--format", "freeze", "--disable-pip-version-check"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    pairs = (line.partition("==") for line in lines)
    return {name.lower().replace("_", "-"): version for name, _, version in pairs}
