"""An interpreter that every user may run: that of the tests often lies in a home that is its owner's alone."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import sys
import tempfile
from pathlib import Path

from aeros.core.privileges import find_account, readable_by

from .serverproc import REPOSITORY


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
