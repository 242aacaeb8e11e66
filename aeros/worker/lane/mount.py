"""Where a proxy has mounted the app (--root-path): in ASGI a path begins with it.

Some proxies strip it from the path, and some keep it. It is put before a path that does not begin with it.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from .head import Head

H = TypeVar("H", bound="Head")


def _is_outside(path: str, root_path: str) -> bool:
    return path[:1] == "/" and path != root_path and not path.startswith(root_path + "/")


def mounted(head: H, root_path: str) -> H:
    """Return the head with its path below root_path. The parser's own may be shared by equal requests."""
    if not _is_outside(head.path, root_path):
        return head
    head = copy.copy(head)
    head.path = root_path + head.path
    head.raw_path = root_path.encode() + head.raw_path
    return head


def mount(scope: dict[str, Any]) -> None:
    """Do the same to a scope."""
    root_path = scope["root_path"]
    if root_path and _is_outside(scope["path"], root_path):
        scope["path"] = root_path + scope["path"]
        scope["raw_path"] = root_path.encode() + scope["raw_path"]
