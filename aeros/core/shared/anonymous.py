"""Files without a name, in memory, by which the processes of a family share what one of them knows.

Whoever has such a descriptor could cut the file short, and so end every process that has it mapped (SIGBUS). Linux
keeps a file from that for good once it is sealed. Elsewhere (macOS) there are no seals: see SECURITY.md.
"""

from __future__ import annotations

import mmap
import os

#: Not in Python's fcntl. Linux 5.1: mappings that are there can be written, no new one can, and no write() works.
_F_SEAL_FUTURE_WRITE = 0x10


def anonymous_file(name: str) -> int:
    """Return the descriptor of a new file without a name; it is gone when the last descriptor is closed."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        # It comes as 0777: with a descriptor that only reads, another user could open it again for writing, in /proc.
        os.fchmod(fd, 0o600)
        return fd
    import tempfile

    fd, path = tempfile.mkstemp(prefix=name)
    os.unlink(path)  # noqa: PTH108 - pathlib is not otherwise needed before the fork
    return fd


def shared_file(name: str, size: int) -> int:
    """Return the descriptor of a new file of `size` zeros. Who has it may map and write it, and not change its size."""
    fd = anonymous_file(name)
    os.ftruncate(fd, size)
    _seal(fd)
    return fd


def growing_file(name: str, beginning: bytes) -> int:
    """Return the descriptor of a new file that begins so, at whose end others write. It can grow, and never shrink."""
    fd = anonymous_file(name)
    os.write(fd, beginning)
    _seal(fd, grows=True)
    return fd


def finished_file(name: str, content: bytes) -> int:
    """Return the descriptor of a new file that holds `content` for good. Read it with pread: its place is shared."""
    fd = anonymous_file(name)
    os.pwrite(fd, content, 0)
    _seal(fd, writing="F_SEAL_WRITE")
    return fd


def published_file(name: str, size: int) -> tuple[mmap.mmap, int]:
    """Return a mapping of a new file of `size` zeros, and a descriptor to hand out. Nobody can write the file but the
    caller, and what it forks until that lets go of the mapping."""
    fd = anonymous_file(name)
    os.ftruncate(fd, size)
    mapping = mmap.mmap(fd, size, access=mmap.ACCESS_WRITE)
    _seal(fd, writing="F_SEAL_FUTURE_WRITE")
    read_only = read_only_copy(fd)
    os.close(fd)
    return mapping, read_only


def read_only_copy(fd: int) -> int:
    """Return a new descriptor that cannot write the file of `fd`, for others; the caller closes it."""
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # no /proc: macOS, a bare chroot
        return os.dup(fd)


def _seal(fd: int, writing: str = "", *, grows: bool = False) -> None:
    """Fix the size of a file for good, or the least it can have, and what `writing` says of writing to it."""
    if not hasattr(os, "memfd_create"):
        return
    import fcntl

    more = {"": 0, "F_SEAL_WRITE": fcntl.F_SEAL_WRITE, "F_SEAL_FUTURE_WRITE": _F_SEAL_FUTURE_WRITE}[writing]
    size = fcntl.F_SEAL_SHRINK | (0 if grows else fcntl.F_SEAL_GROW)
    try:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, size | more | fcntl.F_SEAL_SEAL)
    except OSError:  # EINVAL: this kernel is older than the seal for future writes; others get a read-only descriptor
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, size | fcntl.F_SEAL_SEAL)
