"""Finding an app by name: "module:app", "package.module:factory()", "module" alone (then `app`)."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import pkgutil
import re
import sys
import traceback
from pathlib import Path
from typing import Any

from ...errors import AppLoadError, OptionsError

_SHAPE = re.compile(r"^[A-Za-z_][\w.]*(:[A-Za-z_][\w.]*(\(\))?)?$")


def load_app(name: str) -> Any:
    """Import and return the app called `name`; the current directory is searched first.

    Raises OptionsError for a name that is not one, AppLoadError (with the app's own traceback where it is the
    app that fails) when it cannot be had; both name what is near.
    """
    name = _from_path(name)
    if not _SHAPE.match(name):
        raise OptionsError(f"{name!r} does not name an app; write module:app, or module:factory()")
    module_name, _, attribute = name.partition(":")
    if os.getcwd() not in sys.path:  # noqa: PTH109 - sys.path holds strings
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    module = _import(module_name)
    found = _attribute(module, module_name, attribute.removesuffix("()") or "app")
    if attribute.endswith("()"):
        return _call(found, name)
    if not attribute and not callable(found):
        raise AppLoadError(f"{module_name}.app is of type {type(found).__name__}, not an app")
    return found


def _from_path(name: str) -> str:
    """People write what they see: accept dir/file.py:app as well."""
    path, colon, attribute = name.partition(":")
    if path.endswith(".py") and Path(path).is_file():
        folder = str(Path(path).resolve().parent)
        if folder not in sys.path:
            sys.path.insert(0, folder)
        return Path(path).stem + colon + attribute
    return name


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name == missing or name.startswith(f"{missing}."):
            raise AppLoadError(f"there is no module {missing!r} here{_nearest_module(missing)}") from None
        raise AppLoadError(f"{name} cannot be imported: {error}", traceback=_app_traceback(error)) from None
    except (Exception, SystemExit) as error:
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise AppLoadError(f"{name} cannot be imported: {what}", traceback=_app_traceback(error)) from None


def _app_traceback(error: BaseException) -> str:
    """Return the traceback without the frames of the import machinery and of this module."""
    frames = error.__traceback__
    while frames is not None and _is_ours(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames))


def _is_ours(filename: str) -> bool:
    return filename == __file__ or filename.startswith("<frozen importlib") or filename == importlib.__file__


def _nearest_module(name: str) -> str:
    parent, _, last = name.rpartition(".")
    try:
        where = importlib.import_module(parent).__path__ if parent else [os.getcwd()]  # noqa: PTH109
    except (ImportError, AttributeError):
        return ""
    known = [module.name for module in pkgutil.iter_modules(where)]
    if not parent and any(module.name == name for module in pkgutil.iter_modules(["src"])):
        return "; src/ has it: install the project (pip install -e .), or start it with PYTHONPATH=src, or in src/"
    close = difflib.get_close_matches(last, known, 1)
    if close:
        return f"; did you mean {f'{parent}.' if parent else ''}{close[0]}?"
    return (
        f" (modules in {where[0]}: {', '.join(sorted(known)[:8])})" if known else f" ({where[0]} has no Python module)"
    )


def _attribute(module: Any, module_name: str, path: str) -> Any:
    found = module
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            if own := _hidden_by_pythons_own(module_name):
                raise AppLoadError(
                    f"module {module_name!r} is Python's own, which hides {own}; give that file another name"
                ) from None
            names = [name for name in vars(module) if not name.startswith("_")]
            close = difflib.get_close_matches(part, names, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise AppLoadError(f"module {module_name!r} has no {part!r}{hint}") from None
    return found


def _hidden_by_pythons_own(module_name: str) -> str:
    """Return the file here that has the name of a module of Python's, where that one was imported; else ""."""
    top = module_name.partition(".")[0]
    if top not in sys.stdlib_module_names:
        return ""
    imported = str(getattr(sys.modules.get(top), "__file__", None) or "")
    for path in (Path(f"{top}.py"), Path(top, "__init__.py")):
        if path.is_file() and not (imported and Path(imported).exists() and path.samefile(imported)):
            return str(path)
    return ""


def _call(factory: Any, name: str) -> Any:
    if not callable(factory):
        raise AppLoadError(f"{name}: {factory!r} cannot be called; leave the () out?")
    if inspect.iscoroutinefunction(factory):
        raise AppLoadError(f"{name}: the factory is async; it must be a plain def that returns the app")
    try:
        return factory()
    except (Exception, SystemExit) as error:
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise AppLoadError(f"{name} failed: {what}", traceback=_app_traceback(error)) from None
