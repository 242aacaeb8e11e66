"""The files that a running program depends on, and which of them have changed since.

What is on the disk decides. Where the system can say that something has changed, it is only looked at then.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

from .inotify import Inotify

#: How often the files are looked at where nobody says that one has changed.
WATCH_EVERY_S = 0.5
#: And where somebody does: file systems of a network or a virtual machine's host may keep it to themselves.
_ALSO_EVERY_S = 2.0
#: An editor, a formatter or git changes several files one after the other: it has finished when this long nothing
#: has happened, and is not waited for beyond the second.
_QUIET_S, _AT_MOST_S = 0.03, 0.3
#: Folders with other people's code, or with what programs write.
_OTHERS = {"__pycache__", "node_modules", "site-packages"}
_MOST_FOLDERS = 4000

Stamp = tuple[int, int, int]

#: The files as they were before the program was imported: what is saved meanwhile is not in it.
_before: dict[str, Stamp] = {}


def remember(patterns: Sequence[str]) -> None:
    """Look at the files now, since the program is imported next."""
    _before.clear()
    found = SourceFiles(patterns)
    _before.update(found.stamps)
    found.close()


class SourceFiles:
    """Those of this process, as they are on the disk now: its modules, and what `patterns` name below `folder`.

    patterns: of paths relative to the folder, or of names alone: `*.html`, `config/*.yml`.
    """

    def __init__(self, patterns: Sequence[str] = (), folder: str = "") -> None:
        self._patterns = tuple(patterns)
        self._folder = folder or _here()
        self._inotify: Inotify | None = None
        with contextlib.suppress(OSError):
            self._inotify = Inotify()
        self.stamps = {**self._look(), **_before}

    def fileno(self) -> int:
        """Return what is readable when it may be time to look, -1 where there is no such thing."""
        return self._inotify.fileno() if self._inotify is not None else -1

    @property
    def every_s(self) -> float:
        """Return how often to look in any case."""
        return WATCH_EVERY_S if self._inotify is None else _ALSO_EVERY_S

    def stirred(self) -> bool:
        """Return whether a file may have changed, when fileno() was readable. Never waits."""
        return self._inotify is not None and self._inotify.happened(self._matters)

    def settled(self) -> bool:
        """As `stirred`, and wait a moment for further changes."""
        if self._inotify is None or not self.stirred():
            return False
        waited = 0.0
        while waited < _AT_MOST_S and select.select([self._inotify.fileno()], [], [], _QUIET_S)[0]:
            self.stirred()
            waited += _QUIET_S
        return True

    def changed(self) -> list[str]:
        """Return the paths of those that have changed, are new or are gone since the last call; some 20 at most."""
        before, self.stamps = self.stamps, self._look()
        # A module that is imported later was there before; a file that a pattern names was not.
        changed = [
            path
            for path, stamp in self.stamps.items()
            if (before[path] != stamp if path in before else self._named(path))
        ]
        return sorted(changed + [path for path in before if path not in self.stamps])[:20]

    def close(self) -> None:
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None

    def _matters(self, name: str) -> bool:
        return name.endswith(".py") or any(fnmatch(name, os.path.basename(pattern)) for pattern in self._patterns)  # noqa: PTH119

    def _named(self, path: str) -> bool:
        relative = os.path.relpath(path, self._folder)
        return any(fnmatch(relative, one) or fnmatch(os.path.basename(path), one) for one in self._patterns)  # noqa: PTH119

    def _look(self) -> dict[str, Stamp]:
        modules = list(_module_files())
        folders = {os.path.dirname(path) for path in modules}  # noqa: PTH120
        below = list(self._walk()) if self._patterns else []
        if self._inotify is not None:
            self._inotify.watch(folders | {folder for folder, _ in below})
        named = (path for folder, names in below for name in names if self._named(path := os.path.join(folder, name)))  # noqa: PTH118
        return dict(_stamped([*modules, *named]))

    def _walk(self) -> Iterator[tuple[str, list[str]]]:
        """Yield the folders of the project with the names of their files."""
        for count, (folder, inner, names) in enumerate(os.walk(self._folder)):
            if count >= _MOST_FOLDERS:
                return
            inner[:] = [name for name in inner if name not in _OTHERS and name[0] != "." and not _venv(folder, name)]
            yield folder, names


def _venv(folder: str, name: str) -> bool:
    return Path(folder, name, "pyvenv.cfg").exists()


def _here() -> str:
    with contextlib.suppress(OSError):
        return os.getcwd()  # noqa: PTH109
    return "/"


def _module_files() -> Iterator[str]:
    for module in list(sys.modules.values()):
        name = getattr(module, "__file__", None)
        if isinstance(name, str):
            yield name


def _stamped(paths: list[str]) -> Iterator[tuple[str, Stamp]]:
    for path in paths:
        with contextlib.suppress(OSError, ValueError):
            found = os.stat(path)  # noqa: PTH116
            yield path, (found.st_mtime_ns, found.st_size, found.st_ino)
