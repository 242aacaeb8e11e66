"""What can be done to the files that a family shares, by whoever has their descriptors."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from aeros.core.net.certificates import load, store
from aeros.core.shared.anonymous import finished_file, growing_file, published_file, read_only_copy, shared_file

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="only Linux seals files")


@pytest.fixture
def opened() -> Iterator[list[int]]:
    fds: list[int] = []
    yield fds
    for fd in fds:
        os.close(fd)


def again(fd: int) -> int:
    """As who has a descriptor, and the right to, opens the file once more."""
    return os.open(f"/proc/self/fd/{fd}", os.O_RDWR)


def test_no_size_can_be_changed(opened: list[int]) -> None:
    mapping, published = published_file("p", 4096)
    fds = [published, shared_file("s", 4096), finished_file("f", bytes(4096)), growing_file("g", bytes(4096))]
    opened += [*fds, *(again(fd) for fd in fds)]
    for fd in opened:
        with pytest.raises(OSError, match=r"not permitted|Invalid"):
            os.ftruncate(fd, 0)
    for fd in (*fds[:3], *opened[4:7]):
        with pytest.raises(OSError, match=r"not permitted|Invalid"):
            os.ftruncate(fd, 8192)
    mapping.close()


def test_only_its_maker_writes_what_is_published(opened: list[int]) -> None:
    mapping, fd = published_file("p", 4096)
    opened += [fd, again(fd)]
    mapping[:4] = b"said"
    for one in opened:
        assert os.pread(one, 4, 0) == b"said"
        with pytest.raises(OSError, match=r"not permitted|Bad file descriptor"):
            os.pwrite(one, b"lied", 0)
        with pytest.raises(PermissionError):
            mmap.mmap(one, 4096)
        with mmap.mmap(one, 4096, access=mmap.ACCESS_READ) as reading:
            assert reading[:4] == b"said"
    mapping.close()


def test_what_is_finished_stays(opened: list[int]) -> None:
    fd = store(b"certificates")
    opened += [fd, again(fd)]
    for one in opened:
        with pytest.raises(PermissionError):
            os.pwrite(one, b"forged", 0)
        os.lseek(one, 0, os.SEEK_END)
    assert load(fd) == b"certificates"


def test_another_user_cannot_open_it_for_writing(opened: list[int]) -> None:
    fd = shared_file("s", 4096)
    opened += [fd, read_only_copy(fd)]
    assert Path(f"/proc/self/fd/{fd}").stat().st_mode & 0o777 == 0o600
    with pytest.raises(OSError, match=r"Bad file descriptor"):
        os.pwrite(opened[1], b"x", 0)
