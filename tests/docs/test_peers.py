"""The migration pages name every option of uvicorn and granian, asked of their own parsers."""

from __future__ import annotations

import importlib
import re

import pytest

from .blocks import ROOT


@pytest.mark.parametrize(
    ("server", "module", "name"), [("uvicorn", "uvicorn.main", "main"), ("granian", "granian.cli", "cli")]
)
def test_each_option_of_the_other_server_has_its_row(server: str, module: str, name: str) -> None:
    pytest.importorskip(server, reason=f"NOT RUN: the options of {server}, for want of it")
    command = getattr(importlib.import_module(module), name)
    page = (ROOT / f"docs/migrate/{server}.md").read_text()
    left = "\n".join(line.split("|")[1] for line in page.splitlines() if line.startswith("|"))
    options = [[each for each in (*one.opts, *one.secondary_opts) if each.startswith("--")] for one in command.params]
    every = [spellings for spellings in options if spellings and "--help" not in spellings]
    assert len(every) > 30
    assert not [one for one in every if not any(re.search(rf"(?<![\w-]){each}(?![\w-])", left) for each in one)]
