"""Being run before one is asked for: import what the next version of the app will need in any case, then wait."""

from __future__ import annotations

import contextlib
import re
import select
from importlib import import_module
from pathlib import Path

#: What an import of these brings is the same whatever the app does before.
_FRAMEWORKS = {"quart", "fastapi", "starlette", "litestar", "django", "falcon", "blacksheep", "pydantic", "jinja2"}
_IMPORTED = re.compile(r"^\s*(?:from|import)\s+(\w+)", re.MULTILINE)
#: Of a worker: what each of them imports.
_OURS = ("aeros.worker.main", "aeros.worker.watch", "aeros.worker.http1.slow_clients", "aeros.dev.app")


def prepare(module: str, folder: str) -> None:
    """Import what the app in `module`, below `folder`, will."""
    for name in _OURS:
        import_module(name)
    for name in sorted(_imported_by(module, Path(folder))):
        with contextlib.suppress(Exception):  # the app will meet the same, and it is told there
            import_module("aeros.app" if name == "aeros" else name)


def wait(line_fd: int) -> None:
    """Return when the supervisor has said something on the line, or is gone."""
    select.select([line_fd], [], [])


def _imported_by(module: str, folder: Path) -> set[str]:
    """Return those frameworks that the file of the app names. It is read and not run."""
    path = folder.joinpath(*module.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        with contextlib.suppress(OSError):
            names = set(_IMPORTED.findall(file.read_text("utf-8", "replace")))
            return {name for name in names & (_FRAMEWORKS | {"aeros"}) if not _is_local(name, folder)}
    return set()


def _is_local(name: str, folder: Path) -> bool:
    """Whether the project has a module of that name: then it is the app's, and may change."""
    places = (folder, Path())
    return any((place / f"{name}.py").exists() or (place / name / "__init__.py").exists() for place in places)
