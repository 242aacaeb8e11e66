"""Which app is meant where none is named: what people usually call it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ...errors import OptionsError

#: Where it usually is, best guess first.
_PLACES = ("app", "main", "asgi", "wsgi", "server", "api", "application", "web", "run", "app.main", "app.app")
_KINDS = "WebServer|Quart|QuartTrio|FastAPI|Starlette|Litestar|Falcon|App|Application|BlackSheep|Esmerald|Sanic|Flask"
# Read as text, and not imported: that would run the program, and a file with an error in it is meant as well.
_MADE = re.compile(rf"^(\w+)\s*(?::[^=\n]+)?=\s*(?:[\w.]+\.)?(?:{_KINDS}|get_asgi_application)\(", re.MULTILINE)
_NAMED = re.compile(r"^(app|application|api|asgi)\s*(?::[^=\n]+)?=(?!=)", re.MULTILINE)
_HANDLER = re.compile(r"^async def (app|application)\(scope", re.MULTILINE)
_FACTORY = re.compile(r"^def (create_app|make_app|build_app|app_factory|get_app|create_application)\(", re.MULTILINE)


def guess_app(folder: str = ".") -> str:
    """Return "module:app" or "module:factory()" for the one app in `folder`. Raises OptionsError: what to write."""
    here = Path(folder)
    for module in _PLACES:
        path = here.joinpath(*module.split("."))
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if name := _app_in(file):
                return f"{module}:{name}"
    found = [f"{path.stem}:{name}" for path in sorted(here.glob("*.py")) if (name := _app_in(path, sure=True))]
    if len(found) == 1:
        return found[0]
    if found:
        raise OptionsError(f"there are several apps here, say which: {', '.join(found[:8])}")
    tried = ", ".join(f"{module}.py" for module in _PLACES[:4])
    raise OptionsError(f"no app was named, and none is found in {here.resolve()} ({tried} …): say module:app")


def _app_in(path: Path, *, sure: bool = False) -> str:
    """Return the name of the app in a file, "" if there is none. sure: a name alone does not make it one."""
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return ""
    return next(_names(text, sure), "")


def _names(text: str, sure: bool) -> Iterator[str]:
    made = _MADE.findall(text)
    yield from (name for name in ("app", "application") if name in made)
    yield from made
    yield from _HANDLER.findall(text)
    if not sure:
        yield from _NAMED.findall(text)
    yield from (f"{name}()" for name in _FACTORY.findall(text))
