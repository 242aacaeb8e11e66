"""How this process was started: its environment and its directory, from before the program changed either.

A program that is run again is to find what it found the first time. So this module is imported before anything else
of Aeros, and reads at once what cannot be read later.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

#: What Aeros tells a program that it runs again; not for the next one.
INTERNAL_PREFIX = "AEROS_INTERNAL_"
#: What the service manager gave to this process alone.
_TAKEN = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PIDFDID",
)


def _read_environment() -> dict[str, str]:
    """Return the environment that the program was executed with; where that cannot be had, as it is now.

    The kernel shows the block that exec made. `os.environ` and putenv() do not write to it. setproctitle does.
    """
    try:
        with open("/proc/self/environ", "rb") as file:  # noqa: PTH123 - pathlib is not imported yet
            found = parse_environment(file.read())
    except OSError:
        found = None
    return dict(os.environ) if found is None else found


def parse_environment(block: bytes) -> dict[str, str] | None:
    """Return what an environment block says, or None when something else was written over it, such as a title."""
    found: dict[str, str] = {}
    for entry in block.removesuffix(b"\0").split(b"\0") if block else []:
        name, equals, value = entry.partition(b"=")
        if not name or not equals:
            return None
        found.setdefault(os.fsdecode(name), os.fsdecode(value))  # getenv() returns the first as well
    return found


def for_the_next_run(environment: dict[str, str]) -> dict[str, str]:
    """Return the environment without what was meant for one run of the program only."""
    told = [value for name, value in environment.items() if name.startswith(INTERNAL_PREFIX)]
    ours = {"PYTHONFAULTHANDLER"} if any(value.endswith("+faulthandler") for value in told) else set()
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith(INTERNAL_PREFIX) and name not in _TAKEN and name not in ours
    }


def here() -> str:
    """Return the working directory, "" if it was removed."""
    try:
        return os.getcwd()  # noqa: PTH109 - pathlib is not imported yet
    except OSError:
        return ""


_started_with = _read_environment()
_directory = here()
_first_of_path = sys.path[0] if sys.path else ""


def environment_of_start() -> dict[str, str]:
    """Return the environment for running the program again: that of its start."""
    return for_the_next_run(_started_with)


def give_away(names: Iterable[str]) -> dict[str, str]:
    """Return those of these variables that are known here, and are no more: they are secrets, this is everybody's."""
    return {name: _started_with.pop(name) for name in names if name in _started_with}


def directory_of_start() -> str:
    """Return the directory for running the program again: that of its start.

    As a path that follows a symlink switched later, where the shell told one.
    """
    found = _directory_of_script() or _directory_of_module() or _directory
    told = _started_with.get("PWD", "")
    if not found:
        return told or "/"
    try:
        # Who starts a program in another directory without a shell leaves an old PWD behind.
        if os.path.isabs(told) and os.path.samefile(told, found):  # noqa: PTH117, PTH121
            return told
    except OSError:
        pass
    return found


def _directory_of_script() -> str:
    """Return what the interpreter put in front of a relative path on its command line; "" if there was none."""
    main = sys.modules.get("__main__")
    file, spec = str(getattr(main, "__file__", "") or ""), getattr(main, "__spec__", None)
    if spec is not None:
        if spec.name != "__main__":
            return ""  # python -m
        file = os.path.dirname(file)  # noqa: PTH120 - a directory or a zip file: its __main__.py is run
    for argument in sys.orig_argv[1:]:
        path = argument.rstrip("/")
        if path == file:
            return ""  # an absolute path says nothing
        if path == "." and spec is not None:
            return file.removesuffix("/.")
        if path and file.endswith(f"/{path}"):
            return file.removesuffix(path).rstrip("/") or "/"
    return ""


def _directory_of_module() -> str:
    """Return where `python -m` looked first, if it found the module there; "" if not.

    That is the directory of the start, but for -P and -I, unless the program has put something before it.
    """
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is None or spec.name == "__main__" or sys.flags.safe_path or not os.path.isabs(_first_of_path):  # noqa: PTH117
        return ""
    module = os.path.join(_first_of_path, *spec.name.split(".")) + ".py"  # noqa: PTH118
    return _first_of_path if spec.origin == module else ""
