"""What the supervisor believes about a process somebody names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from aeros.core.process import descends_from

GRANDCHILD = """
import os, sys
read, write = os.pipe()
if os.fork() == 0:
    os.close(write)
    os.read(read, 1)
    os._exit(0)
"""


def test_below_means_children_and_theirs() -> None:
    """A zygote's copy whose maker is just ending has neither us nor any zygote we still know as its parent."""
    maker = subprocess.Popen(
        [sys.executable, "-c", GRANDCHILD + "\nprint('made', flush=True)\nsys.stdin.read()\n"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert maker.stdin is not None
    assert maker.stdout is not None
    assert maker.stdout.readline() == b"made\n"
    (grandchild,) = map(int, Path(f"/proc/{maker.pid}/task/{maker.pid}/children").read_text().split())
    assert descends_from(maker.pid, (os.getpid(),))
    assert descends_from(grandchild, (os.getpid(),))
    assert descends_from(grandchild, (maker.pid,))
    assert not descends_from(os.getppid(), (maker.pid,))
    assert not descends_from(os.getpid(), (maker.pid,))
    maker.stdin.close()
    maker.stdout.close()
    assert maker.wait(10) == 0


def test_who_is_gone_is_not_doubted() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(10)
    assert descends_from(gone.pid, (1,))
