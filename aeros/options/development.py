"""What the options are while somebody works on the app (--dev), where the command does not say otherwise."""

from __future__ import annotations

from .given import Given, Layer, from_mapping

#: Beside the modules: all of the project's Python, its templates, and what is read once at the start.
PATTERNS = ("*.py", "*.html", "*.jinja", "*.jinja2", "*.j2", ".env", ".env.*", ".flaskenv", ".quartenv")
_FOR_DEVELOPMENT: dict[str, object] = {
    "workers": 1,
    "use_reloader": True,
    # What is under way is of the old code, and a stream would hold up Ctrl+C for as long as it lasts.
    "drain_timeout": 0.1,
    "shutdown_timeout": 2.0,
    "drain_delay": 0.0,
    # Somebody may stand in a debugger.
    "worker_timeout": 0.0,
    # It takes time at each reload, for memory that one worker shares with nobody.
    "immortal": "off",
}


def development() -> Layer:
    """Return the layer of options."""
    return from_mapping(_FOR_DEVELOPMENT, "development")


def project_files(given: Given | None) -> Layer:
    """Return the files to watch: those of any project, and those that were given."""
    further = given.value if given is not None and isinstance(given.value, tuple) else ()
    return from_mapping({"watch": [*PATTERNS, *further]}, given.source if given is not None else "development")
