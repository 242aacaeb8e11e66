"""What kind of Python this is, where that matters to a server, and whether there is an interpreter to run."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_NAMES = ("python", "pypy", "graalpy")


def is_frozen() -> bool:
    """Whether this program was made by PyInstaller, cx_Freeze and the like: `sys.executable` is the program itself."""
    return bool(getattr(sys, "frozen", False))


def is_one_file() -> bool:
    """Whether it is PyInstaller's single file, which unpacks itself at each start and is a child of its unpacker."""
    # It unpacks into a temporary folder of that name; one that was frozen as a folder runs where it lies.
    return is_frozen() and Path(getattr(sys, "_MEIPASS", "")).name.startswith("_MEI")


def why_no_interpreter() -> str:
    """Return why `sys.executable` cannot be used to run Python code, "" if it can.

    Nobody is to be started who is not known to be Python: a program that embeds it, or was frozen, would be started
    once more as what it is, would start the next one, and so on.
    """
    if is_frozen():
        return "a frozen program comes without a Python interpreter"
    if not sys.executable or not os.access(sys.executable, os.X_OK):
        return "the path of the Python interpreter is not known"
    name = Path(sys.executable).name
    if not any(known in name.lower() for known in _NAMES):
        return f"{name} runs Python code inside, but is no Python interpreter"
    return ""


def untested(abiflags: str = sys.abiflags) -> str:
    """Return a sentence about this interpreter if Aeros is served by it, but not tested with it; "" for all others."""
    if "t" in abiflags:
        return (
            "this is a free-threaded Python (no GIL): Aeros serves with it, but is not tested with it, and its workers "
            "gain nothing, since each runs one event loop in one thread; the ordinary build shares more memory"
        )
    return ""
