"""Tests against a real server: `LiveServer`, and the pytest fixture `aeros_server` made of it.

pytest imports this for every suite in an environment that has Aeros. So what a server needs is imported at its use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .live_server import LiveServer

__all__ = ["LiveServer"]


def __getattr__(name: str) -> object:
    if name != "LiveServer":
        raise AttributeError(f"module 'aeros.testing' has no attribute {name!r}")
    from .live_server import LiveServer

    return LiveServer
