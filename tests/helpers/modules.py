"""The modules of aeros/ and what each imports, read from the sources: for the test of imports and for scripts/house."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "aeros"
SOURCES = sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    """`aeros.core.clock` for aeros/core/clock.py, `aeros.core` for its __init__.py."""
    return ".".join(["aeros", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")


MODULES = {module_of(path): path for path in SOURCES}


def imported(path: Path) -> list[tuple[int, str, bool]]:
    """(line, dotted name, only for type checkers) of each import; relative ones made absolute.

    `from .x import y` is x, and x.y as well if that is a module. Imports in functions count.
    """
    tree = ast.parse(path.read_text(), str(path))
    for_checkers = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    here = ["aeros", *path.relative_to(PACKAGE).with_suffix("").parts]
    found: list[tuple[int, str, bool]] = []
    for node in ast.walk(tree):
        only_types = id(node) in for_checkers
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name, only_types) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level] if node.level else []
            module = ".".join([*base, *(node.module.split(".") if node.module else [])])
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                is_module = inner in MODULES or module == "aeros"
                # The folder that a module is in is no import of its own: its __init__.py has run already.
                if not (is_module and ".".join(here).startswith(f"{module}.")):
                    found.append((node.lineno, module, only_types))
                if is_module:
                    found.append((node.lineno, inner, only_types))
    return found
