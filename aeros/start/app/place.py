"""Where an app is, beside its name: a directory, a factory, and the variables it is to find."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ...core.env_file import parse
from ...errors import OptionsError


def look_in(directory: str | os.PathLike[str]) -> None:
    """Have modules looked for in `directory` first, then in the working directory. Raises OptionsError."""
    if not Path(directory).is_dir():
        raise OptionsError(f"--app-dir {directory}: there is no such directory", option="app_dir")
    for place in (Path.cwd(), Path(directory).resolve()):
        sys.path[:] = [str(place), *(path for path in sys.path if path != str(place))]


def set_variables(path: str | os.PathLike[str]) -> None:
    """Set the variables of an env file that are not set yet. Raises OptionsError."""
    try:
        found = parse(Path(path).read_text("utf-8"))
    except OSError as error:
        raise OptionsError(f"--env-file {path}: {error.strerror}", option="env_file") from None
    except ValueError as error:
        raise OptionsError(f"--env-file {path}: {error}", option="env_file") from None
    for name, value in found.items():
        os.environ.setdefault(name, value)


def factory_name(name: str) -> str:
    """Return the name of what the factory called `name` returns."""
    if name.endswith("()"):
        return name
    return f"{name}()" if ":" in name else f"{name}:create_app()"
