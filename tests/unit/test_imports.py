"""The direction of imports inside aeros/, read from the sources: all point downward, core stands alone."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "aeros"

#: What each part may import of aeros besides itself, as docs/architecture.md draws it: lowest first.
ALLOWED = {
    "core": set(),
    "version": set(),
    "errors": {"core"},
    "titles": {"core"},
    "usage": {"core"},
    "latency": {"core"},
    "inflight": {"core"},
    "stacks": {"core"},
    "status": {"core", "errors", "inflight", "latency", "usage", "version"},
    "options": {"core", "errors", "version"},
    "compat": set(),
    "worker": {"compat", "core", "errors", "options", "titles", "version"},
    "misc": {"core", "errors"},
    "supervisor": {"core", "options", "errors", "status", "titles", "usage", "version"},
    "lean_response": set(),
    "lean_routing": set(),
    "lean_quart": {"lean_response", "lean_routing", "worker"},
    "lean_quart_022": {"lean_quart"},
    "lean_quart_023": {"lean_quart"},
    "lean": {"compat", "lean_quart_022", "lean_quart_023", "lean_response"},
    "awaiting": {"lean"},
    "hooks": {"core", "errors"},
    "logs": {"core", "worker"},
    "loading": {"errors"},
    "asgi": {"errors", "obstacles"},
    "obstacles": {"errors"},
    "rates": {"core", "latency", "status"},
    "top_view": {"core", "inflight", "rates", "status"},
    "top": {"core", "errors", "rates", "server", "status", "top_view"},
    "completion": {"core"},
    "doctor": {"compat", "core", "errors", "options", "server", "status", "supervisor"},
    "console": {"core", "inflight", "status"},
    "server": {"core", "errors", "inflight", "stacks", "status", "supervisor", "version"},
    "warmup": {"compat", "core", "options", "worker"},
    "program": {"core", "hooks", "options", "status", "warmup", "worker"},
    "app_metrics": {"errors"},
    "dashboard": {"core", "errors", "inflight", "latency", "server", "status", "titles", "version", "worker"},
    "startup": {
        "app_metrics",
        "core",
        "errors",
        "inflight",
        "asgi",
        "options",
        "program",
        "server",
        "status",
        "supervisor",
        "titles",
        "version",
        "worker",
    },
}
#: What a user imports; nothing below may.
TOP = {"app", "cli", "__init__", "__main__"}
#: Packages from outside which a part may use beside the standard library.
OUTSIDE = {
    "top": {"rich"},
    "top_view": {"rich"},
    "warmup": {"quart"},
    "core": set(),
    "version": set(),
    "errors": set(),
    "titles": {"setproctitle"},
    "worker": {
        "hypercorn",
        "uvloop",
        "httptools",
        "asgiref",
        "quart",
        "h2",
        "hpack",
        "h11",
        "hyperframe",
        "werkzeug",
        "wsproto",
    },
    "options": {"hypercorn"},
    "doctor": {"psutil"},
    "usage": {"psutil"},
    "supervisor": {"psutil", "hypercorn"},
    "misc": {"quart", "asgiref"},
    "awaiting": {"quart"},
    "lean_response": {"quart", "werkzeug"},
    "lean_routing": {"quart", "werkzeug"},
    "lean_quart": {"quart", "werkzeug", "flask"},
    "lean_quart_022": {"quart"},
    "lean_quart_023": {"quart", "werkzeug"},
    "lean": {"quart", "werkzeug", "flask"},
    "server": set(),
    "app_metrics": {"prometheus_client"},
    "dashboard": {"hypercorn", "prometheus_client", "quart"},
}


def part_of(path: Path) -> str:
    """`core` for aeros/core/channel.py, `errors` for aeros/errors.py."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported(path: Path) -> list[tuple[int, str, bool]]:
    """(line, dotted name, only for type checkers) of each import; relative ones made absolute."""
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
            if module == "aeros":  # from . import errors: each name may be a part
                found += [(node.lineno, f"aeros.{alias.name}", only_types) for alias in node.names]
            else:
                found.append((node.lineno, module, only_types))
    return found


SOURCES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downward(path: Path) -> None:
    part = part_of(path)
    if part not in ALLOWED:
        assert part in TOP or (PACKAGE / part).is_dir(), f"a new top-level module: say here what it may import: {part}"
        return
    for line, name, only_types in imported(path):
        root, *rest = name.split(".")
        if root == "aeros":
            other = rest[0] if rest else "__init__"
            assert other == part or other in ALLOWED[part], f"{path}:{line}: {part} must not import {name}"
        elif root not in sys.stdlib_module_names and root != "__future__" and not only_types:
            assert root in OUTSIDE.get(part, set()), f"{path}:{line}: {part} must not import {name}"


def test_core_is_the_standard_library_alone() -> None:
    for path in (PACKAGE / "core").rglob("*.py"):
        for line, name, _ in imported(path):
            root = name.split(".")[0]
            inside = name == "aeros.core" or name.startswith("aeros.core.")
            assert inside or root in sys.stdlib_module_names or root == "__future__", f"{path}:{line}: {name}"


def test_nothing_below_imports_the_top() -> None:
    for path in SOURCES:
        if part_of(path) in TOP:
            continue
        for line, name, only_types in imported(path):
            tops = {f"aeros.{top}" for top in TOP}
            if not only_types:
                assert name not in tops | {"aeros"}, f"{path}:{line}: {name}"
