"""`compat`: which Quart is installed."""

from __future__ import annotations

from importlib.machinery import ModuleSpec
from importlib.metadata import version
from pathlib import Path

import pytest

from aeros.quart import versions as compat


def test_the_version_found_is_the_one_installed() -> None:
    assert compat._installed() == version("quart")


@pytest.mark.parametrize(
    ("folders", "found"),
    [
        (("quart-0.1.2.dist-info", "quart_cors-0.9.dist-info", "quart-more-3.dist-info"), "0.1.2"),
        ((), version("quart")),
        # What an upgrade has left behind; who knows which one counts.
        (("quart-0.1.2.dist-info", "quart-0.1.3.dist-info"), version("quart")),
    ],
)
def test_where_it_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folders: tuple[str, ...], found: str
) -> None:
    for name in ("quart", *folders):
        (tmp_path / name).mkdir()
    spec = ModuleSpec("quart", None, origin=str(tmp_path / "quart" / "__init__.py"))
    monkeypatch.setattr(compat, "find_spec", lambda name: spec)
    assert compat._installed() == found


@pytest.mark.parametrize("spec", [None, ModuleSpec("quart", None)])
def test_a_quart_from_nowhere_is_asked_for_its_metadata(
    monkeypatch: pytest.MonkeyPatch, spec: ModuleSpec | None
) -> None:
    monkeypatch.setattr(compat, "find_spec", lambda name: spec)
    assert compat._installed() == version("quart")
