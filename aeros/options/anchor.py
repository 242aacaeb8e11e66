"""Paths as the command line means them: from the directory of the start, also where the app has gone elsewhere."""

from __future__ import annotations

import os
from types import MappingProxyType

from ..core.record import replace
from .model import Options

#: What stands where a path may stand, and is none.
_WORDS = frozenset({"", "-", "auto", "off"})
_FIELDS = ("control", "access_log", "error_log", "pid_file")
_OF_HYPERCORN = ("certfile", "keyfile", "ca_certs")


def anchored(options: Options, directory: str) -> Options:
    """Return the options with every relative path from `directory`."""

    def path(text: str | None) -> str | None:
        return text if text is None or text in _WORDS else os.path.join(directory, text)  # noqa: PTH118

    def bind(text: str) -> str:
        if not text.startswith("unix:") or text.startswith("unix:@"):
            return text
        return f"unix:{path(text.removeprefix('unix:'))}"

    def pair(text: str) -> str:
        host, _, files = text.partition("=")
        return f"{host}={':'.join(str(path(file)) for file in files.split(':'))}"

    further = dict(options.hypercorn)
    for name in _OF_HYPERCORN:
        if isinstance(further.get(name), str):
            further[name] = path(further[name])
    return replace(
        options,
        **{name: path(getattr(options, name)) for name in _FIELDS},
        binds=tuple(map(bind, options.binds)),
        insecure_binds=tuple(map(bind, options.insecure_binds)),
        admin=bind(options.admin) if options.admin is not None else None,
        sni=tuple(map(pair, options.sni)),
        hypercorn=MappingProxyType(further),
    )
