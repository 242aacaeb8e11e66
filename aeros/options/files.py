"""What --config names: a TOML file, a Python file or module, or a Hypercorn Config object.

The only part that imports Hypercorn to read options, and only when a configuration was named.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import OptionsError
from .given import Layer, from_mapping, shorten
from .spec import Option, nearest
from .table import BY_HYPERCORN, BY_NAME, HTTP, OPTIONS

if TYPE_CHECKING:
    from hypercorn.config import Config

#: `config` itself is no option of a file: one file naming the next would need an order between them.
_IN_FILES = {name: option for name, option in BY_NAME.items() if option.name != "config"}


def load(named: object) -> tuple[Layer, Config | None]:
    """Return what a configuration says, and the Config object where it is one (its class may be derived).

    named: "path.toml", "file:path.py", "python:module", "python:module.object", or a hypercorn.Config.
    Runs the user's code for Python files and modules. Raises OptionsError with the cause chained.
    """
    if not isinstance(named, str):
        return _from_object(named, "Config object", "in the Config object")
    if named.startswith("python:"):
        return _from_object(_imported(named), named, f"in {named}")
    if named.startswith("file:"):
        return _from_object(_executed(named), f"file {named[len('file:') :]}", f"in {named[len('file:') :]}")
    return _from_toml(named), None


def hypercorn_options() -> dict[str, Option]:
    """Return by name the options only the installed Hypercorn knows of: attributes newer than our table.

    Their values are passed on unchanged; nothing is known about them.
    """
    from hypercorn.config import Config

    options: dict[str, Option] = {}
    for name in dir(Config):
        value = getattr(Config, name)
        settable = value.fset is not None if isinstance(value, property) else not callable(value)
        if name.startswith("_") or name in BY_HYPERCORN or name in BY_NAME or not settable:
            continue
        options[name] = Option(
            name, HTTP, lambda given: given, value, "Known to Hypercorn alone.", hypercorn=name, flags=()
        )
    return options


def _from_toml(path: str) -> Layer:
    import tomllib

    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a path of the user's, spelled as it was given in errors
            data = tomllib.load(file)
    except (OSError, ValueError) as error:
        if isinstance(error, tomllib.TOMLDecodeError | UnicodeDecodeError):
            hint = "; a Python file is named file:" + path if path.endswith(".py") else ""
            text = f"config file {path} is not valid TOML: {error}{hint}"
        else:
            text = f"cannot read config file {path}: {getattr(error, 'strerror', None) or error}"
        raise OptionsError(text, option="config") from error
    return from_mapping(data, f"file {path}", where=f" in {path}", known={**hypercorn_options(), **_IN_FILES})


def _imported(named: str) -> object:
    """Return the module, or the object in one, that "python:…" names."""
    import importlib

    dotted = named[len("python:") :]
    try:
        try:
            return importlib.import_module(dotted)
        except ModuleNotFoundError as error:
            # Only where the module itself is missing may its last part be an object: an import that fails
            # inside the module is the user's error to see (Hypercorn hides it).
            module, dot, attribute = dotted.rpartition(".")
            if not dot or error.name not in (dotted, dotted.split(".")[0], module):
                raise
            try:
                return getattr(importlib.import_module(module), attribute)
            except AttributeError:
                raise OptionsError(f"config {named}: module {module} has no {attribute}") from error
    except OptionsError:
        raise
    except (Exception, SystemExit) as error:
        raise OptionsError(f"cannot load config {named}: {_told(error)}", option="config") from error


def _executed(named: str) -> object:
    """Return the module made by running the file that "file:…" names. It is not kept in sys.modules."""
    import importlib.machinery
    import importlib.util

    path = named[len("file:") :]
    try:
        # The loader is named, so that a file may be called anything, not only *.py.
        loader = importlib.machinery.SourceFileLoader("aeros_config_file", path)
        spec = importlib.util.spec_from_file_location("aeros_config_file", path, loader=loader)
        assert spec is not None  # only without a loader
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise OptionsError(f"cannot load config {named}: {_told(error)}", option="config") from error
    return module


def _told(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _from_object(instance: object, source: str, where: str) -> tuple[Layer, Config | None]:
    from hypercorn.config import Config

    if isinstance(instance, Config):
        return from_mapping(_set_in(instance), source, where=f" {where}", known=_known_to_python()), instance
    if isinstance(instance, Mapping):
        known = {**hypercorn_options(), **_IN_FILES}
        return from_mapping(instance, source, where=f" {where}", known=known), None
    if isinstance(instance, types.ModuleType) or source != "Config object":
        return from_mapping(_names_in(instance, where), source, where=f" {where}", known=_known_to_python()), None
    what = f"the class {instance.__name__}" if isinstance(instance, type) else shorten(instance)
    raise OptionsError(f"config must be a path or a hypercorn.Config object, not {what}", option="config")


def _set_in(config: Config) -> dict[str, object]:
    """Return what a Config object says: all that was assigned to it, or that its class changes.

    A value equal to Hypercorn's default counts where it was assigned. Attributes outside our table stay in
    the object, of which every Config is a copy; one that is nearly an option's name is refused, since
    Hypercorn lets any name be assigned.
    """
    from hypercorn.config import Config as Base

    plain, assigned, known = Base(), vars(config), _known_to_python()
    said: dict[str, object] = {name: value for name, value in assigned.items() if name in known}
    for name in BY_HYPERCORN:
        value = getattr(config, name, None)
        if f"_{name}" in assigned or value != getattr(plain, name, None):
            said[name] = value
    for name in assigned:
        if name not in known and not name.startswith("_") and not hasattr(type(config), name):
            _refuse_near_miss(name, known, "in the Config object")
    return said


def _known_to_python() -> dict[str, Option]:
    """Return the names that count in a Python module: fewer than elsewhere, as it has names of its own."""
    ours = {name: option for option in OPTIONS for name in (option.name, option.field, option.hypercorn) if name}
    ours |= {"cert_reqs": BY_NAME["cert_reqs"]}
    return {**hypercorn_options(), **{name: ours[name] for name in ours if name in _IN_FILES}}


def _names_in(instance: object, where: str) -> dict[str, Any]:
    """Return the options among the names of a module, passing over all others as Hypercorn does.

    Raises OptionsError for a name that is nearly an option's: `wrokers = 4` is a mistake and no helper.
    """
    known = _known_to_python()
    said: dict[str, Any] = {}
    for name in dir(instance):
        value = getattr(instance, name, None)
        # Modules, functions and classes are the file's own tools, except where a class is the value wanted.
        if isinstance(value, types.ModuleType) or (callable(value) and name != "logger_class"):
            continue
        if name in known:
            said[name] = value
        elif not name.startswith("_") and name.islower():
            _refuse_near_miss(name, known, where)
    return said


def _refuse_near_miss(name: str, known: Mapping[str, Option], where: str) -> None:
    if near := nearest(name, known, close=True):
        raise OptionsError(
            f"unknown option {name} {where}: did you mean {near}? (A leading _ marks a name as no option.)",
            option=name,
        )
