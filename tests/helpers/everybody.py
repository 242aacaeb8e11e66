"""What every user may reach: folders, and an interpreter; that of the tests often lies in a home of its own."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import sys
import tempfile
from pathlib import Path

from aeros.core.process.privileges import find_account, readable_by

REPOSITORY = Path(__file__).resolve().parents[2]


@functools.cache
def interpreter() -> tuple[str, dict[str, str]]:
    """Return an interpreter of this version, and the environment in which it finds what this one does."""
    packages = [str(REPOSITORY), *(path for path in sys.path if path.endswith("site-packages"))]
    found = Path(sys.executable)
    if not all(readable_by(find_account("nobody"), str(path)) for path in (found, Path(os.__file__))):
        found = _linked()
    environment = {"PYTHONPATH": ":".join(packages)}
    if found != Path(sys.executable):
        environment["LD_LIBRARY_PATH"] = str(found.parents[1] / "lib")
    return str(found), environment


def reachable(argv: list[str], folder: Path, name: str) -> tuple[list[str], dict[str, str]]:
    """Return the command line and what its environment needs for a server that runs as the user `name` and begins in
    `folder`, a temporary one that becomes that user's."""
    python, environment = interpreter()
    account = find_account(name)
    if folder.is_relative_to(tempfile.gettempdir()):
        for path in (folder, *folder.rglob("*")):
            os.chown(path, account.uid, account.gid, follow_symlinks=False)
        for path in (folder, *folder.parents):
            if not readable_by(account, str(path)) and path.stat().st_uid == os.geteuid():
                path.chmod(path.stat().st_mode | 0o055)
    return [python if word == sys.executable else word for word in argv], environment


def _linked() -> Path:
    """Return an interpreter in a folder of its own, whose files are second names of this one's: nothing is copied."""
    version = f"python3.{sys.version_info.minor}"
    home = Path(tempfile.mkdtemp(prefix="aeros-python-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    home.chmod(0o755)
    (home / "bin").mkdir(mode=0o755)
    _link(os.path.realpath(sys.executable), str(home / "bin" / version))
    shutil.copytree(
        Path(os.__file__).parent,
        home / "lib" / version,
        symlinks=True,
        ignore=shutil.ignore_patterns("site-packages", "test", "idlelib", "config-*"),
        copy_function=_link,
    )
    for library in Path(os.__file__).parents[1].glob("libpython*.so*"):
        _link(str(library), str(home / "lib" / library.name))
    return home / "bin" / version


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # of another file system
        shutil.copy2(source, target)
    return target
