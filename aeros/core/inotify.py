"""Linux's inotify through ctypes: says at once that something in a folder has changed, without a thread.

Not watchfiles: it waits in a thread of its own, and a zygote, which forks, must have none.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Callable, Iterable

# What ends a change: a file closed after writing, moved here or away, deleted; a folder made.
_CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x8, 0x40, 0x80, 0x100, 0x200
_ISDIR, _OVERFLOW = 0x40000000, 0x4000
_MASK = _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE
_HEAD = struct.Struct("iIII")


class Inotify:
    """Folders that are watched. fileno() is readable when something has happened in one of them."""

    def __init__(self) -> None:
        """Raises OSError where the system has no such thing, or no more of it."""
        if sys.platform != "linux":
            raise OSError("only Linux has inotify")
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        self._watched: set[str] = set()

    def fileno(self) -> int:
        return self._fd

    def watch(self, folders: Iterable[str]) -> None:
        """Watch these as well. One that is gone, or one too many for the system, is left out."""
        for folder in folders:
            if folder not in self._watched:
                self._watched.add(folder)
                self._libc.inotify_add_watch(self._fd, os.fsencode(folder), _MASK)

    def happened(self, matters: Callable[[str], bool]) -> bool:
        """Take what has happened; return whether any of it concerns a folder, or a file whose name `matters`."""
        found = False
        while True:
            try:
                data = os.read(self._fd, 65536)
            except BlockingIOError:
                return found
            found = self._concerns(data, matters) or found

    def _concerns(self, data: bytes, matters: Callable[[str], bool]) -> bool:
        found, at = False, 0
        while at < len(data):
            _, mask, _, length = _HEAD.unpack_from(data, at)
            at += _HEAD.size
            name = os.fsdecode(data[at : at + length].rstrip(b"\0"))
            at += length
            if mask & _ISDIR:
                self._watched.clear()  # it may be a folder of the same name as one that was watched before
            made = mask & _CREATE and not mask & _ISDIR  # what is only made is not yet written
            found = found or bool(mask & (_ISDIR | _OVERFLOW)) or (not made and matters(name))
        return found

    def close(self) -> None:
        os.close(self._fd)
