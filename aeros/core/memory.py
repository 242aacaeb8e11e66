"""Memory that is free, and given back."""

from __future__ import annotations

import contextlib
import sys


def give_back_memory() -> None:
    """Return what the allocator holds free to the kernel: where glibc's is used; elsewhere nothing happens."""
    if sys.platform != "linux":
        return
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
