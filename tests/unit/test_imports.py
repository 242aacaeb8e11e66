"""The direction of imports inside aeros/, read from the sources: all point downward, core stands alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.helpers.modules import MODULES, PACKAGE, SOURCES, imported, module_of

#: What each part may import of aeros besides itself, as docs/architecture.md draws it: lowest first.
#: Imports in a function and imports for types alone count too.
ALLOWED = {
    "core": set(),
    "version": set(),
    "errors": {"core"},
    "titles": {"core"},
    "hooks": {"core", "errors"},
    "options": {"core", "errors", "version"},
    "status": {"core", "errors", "version"},
    "worker": {"core", "errors", "options", "titles", "version"},
    "quart": {"core", "worker"},
    "misc": {"core", "errors"},
    "logs": {"core", "worker"},
    "supervisor": {"core", "errors", "options", "status", "titles", "version"},
    "server": {"core", "errors", "status", "supervisor", "version"},
    "dashboard": {"core", "errors", "quart", "server", "status", "titles", "version", "worker"},
    "dev": {"core"},
    "start": {
        "core",
        "dev",
        "errors",
        "hooks",
        "options",
        "quart",
        "server",
        "status",
        "supervisor",
        "titles",
        "version",
        "worker",
    },
    "testing": {"core", "errors", "options", "quart", "server", "start", "status", "supervisor"},
}
#: What a user imports; nothing below may.
TOP = {"app", "cli", "__init__", "__main__"}
#: The rooms of a part, lowest first: each may import those before it. "" is the part's own folder.
ROOMS = {
    "core": ("", "shared", "process", "log", "net", "ipc", "memory"),
    "worker": ("debugging", "report", "accept", "lane", "http1", "websocket", "http2", "hypercorn", "http3", ""),
    "supervisor": ("model", "system", "sockets", "state", "zygotes", "workers", "control", "upgrade", ""),
}
#: Packages from outside which a part may use beside the standard library.
OUTSIDE = {
    "core": set(),
    "version": set(),
    "errors": set(),
    "server": set(),
    "titles": {"setproctitle"},
    "status": {"psutil"},
    "options": {"hypercorn"},
    "worker": {
        "hypercorn",
        "uvloop",
        "httptools",
        "aioquic",
        "asgiref",
        "quart",
        "h2",
        "hpack",
        "h11",
        "hyperframe",
        "werkzeug",
        "wsproto",
    },
    "quart": {"quart", "werkzeug", "flask", "hypercorn"},
    "supervisor": {"psutil", "hypercorn"},
    "misc": {"quart", "asgiref"},
    "dev": {"quart"},
    "start": {"quart", "prometheus_client"},
    "testing": {"pytest"},
    "dashboard": {"hypercorn", "prometheus_client", "quart"},
}


def part_of(path: Path) -> str:
    """`core` for aeros/core/ipc/channel.py, `errors` for aeros/errors.py."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


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


def upward() -> set[tuple[str, str]]:
    """The pairs of rooms, (from, to), of which the first imports the second although that stands above it."""
    found = set()
    for path in SOURCES:
        part, room = part_of(path), room_of(module_of(path))
        for _, name, _ in imported(path):
            if name in MODULES and name.split(".")[1:2] == [part] and part in ROOMS:
                order, other = ROOMS[part], room_of(name)
                if order.index(other) > order.index(room):
                    found.add((f"{part}/{room}", f"{part}/{other}"))
    return found


def room_of(module: str) -> str:
    """`http1` for aeros.worker.http1.parser, "" for aeros.worker.main."""
    return [*module.split("."), ""][2] if len(module.split(".")) > 3 or is_package(module) else ""


def is_package(module: str) -> bool:
    return MODULES[module].name == "__init__.py" and module.count(".") > 1


def test_every_room_has_its_place_in_the_order() -> None:
    for part, order in ROOMS.items():
        rooms = {path.parent.name for path in (PACKAGE / part).glob("*/__init__.py")}
        assert rooms | {""} == set(order)


def test_rooms_import_only_those_below_them() -> None:
    assert not upward()
