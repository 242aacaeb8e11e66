"""What the supervisor believes about a process somebody names."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aeros.core.ipc.messages import ProtocolError
from aeros.core.process.signalling import open_pidfd
from aeros.supervisor.system.kin import REAPED, descends_from, pid_of_pidfd, recognise

GRANDCHILD = """
import os, sys
read, write = os.pipe()
if os.fork() == 0:
    os.close(write)
    os.read(read, 1)
    os._exit(0)
"""


@contextmanager
def family() -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A child of ours with a child of its own: the first, and the pid of the second."""
    maker = subprocess.Popen(
        [sys.executable, "-c", GRANDCHILD + "\nprint('made', flush=True)\nsys.stdin.read()\n"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert maker.stdin is not None
    assert maker.stdout is not None
    assert maker.stdout.readline() == b"made\n"
    (grandchild,) = map(int, Path(f"/proc/{maker.pid}/task/{maker.pid}/children").read_text().split())
    try:
        yield maker, grandchild
    finally:
        maker.stdin.close()
        maker.stdout.close()
        assert maker.wait(10) == 0


def test_below_means_children_and_theirs() -> None:
    with family() as (maker, grandchild):
        assert descends_from(maker.pid, os.getpid())
        assert descends_from(grandchild, os.getpid())
        assert descends_from(grandchild, maker.pid)
        assert descends_from(os.getppid(), maker.pid) is False
        assert descends_from(os.getpid(), maker.pid) is False


def test_a_child_is_believed_with_or_without_a_descriptor() -> None:
    with family() as (maker, grandchild):
        found = recognise(grandchild, None, maker.pid, None, strict=True)
        assert found.there
        assert found.pidfd is not None
        assert recognise(grandchild, found.pidfd, maker.pid, None, strict=True) == found
        os.close(found.pidfd)


@pytest.mark.parametrize("strict", [True, False])
def test_what_is_not_its_child_is_a_lie(strict: bool) -> None:
    with family() as (maker, grandchild):
        for pid in (os.getpid(), os.getppid(), 1, maker.pid):
            with pytest.raises(ProtocolError, match="which is not so"):
                recognise(pid, None, grandchild if pid == maker.pid else maker.pid, None, strict=strict)


def test_a_descriptor_of_another_process_is_a_lie() -> None:
    with family() as (maker, grandchild), Path(os.devnull).open() as no_pidfd:
        another = open_pidfd(os.getpid())
        assert another is not None
        for told in (another, no_pidfd.fileno()):
            with pytest.raises(ProtocolError, match="does not mean that process"):
                recognise(grandchild, told, maker.pid, None, strict=True)
        os.close(another)


def test_who_is_gone_is_neither_believed_nor_doubted() -> None:
    gone = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    pidfd = open_pidfd(gone.pid)
    assert pidfd is not None
    assert pid_of_pidfd(pidfd) == gone.pid
    gone.communicate(b"\n", 10)
    assert pid_of_pidfd(pidfd) == REAPED
    for told in (pidfd, None):
        assert not recognise(gone.pid, told, os.getpid(), None, strict=True).there
    os.close(pidfd)
