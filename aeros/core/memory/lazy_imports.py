"""Lazy imports (`lazy import x`, PEP 810, Python 3.15) that nobody has used yet, carried out.

Left alone, each worker would import them for itself: no memory shared, a slow first request, and, after a deployment,
code that is newer than the rest of the worker.
"""

from __future__ import annotations

import sys
import types
from typing import Any

#: What a name stands for until it is used; None before Python 3.15.
_LAZY: type | None = getattr(types, "LazyImportType", None)


def resolve_lazy_imports() -> list[str]:
    """Import what the modules loaded so far import lazily; return what failed, a sentence each.

    A failure is not an error here: the app may never use that name, and is told when it does.
    """
    failed: list[str] = []
    if _LAZY is None:
        return failed
    seen: set[str] = set()
    # What is imported may import lazily itself.
    while new := sys.modules.keys() - seen:
        seen |= new
        for name in sorted(new):
            module = sys.modules.get(name)
            if isinstance(module, types.ModuleType):
                failed += _resolve(name, vars(module))
    return failed


def _resolve(module: str, namespace: dict[str, Any]) -> list[str]:
    failed: list[str] = []
    for name, value in list(namespace.items()):
        if type(value) is _LAZY:
            try:
                namespace[name] = value.resolve()  # type: ignore[attr-defined]
            except Exception as error:
                failed.append(f"{module}.{name}: {type(error).__name__}: {error}")
    return failed
